#!/usr/bin/env python3
"""A vector store and a retriever over fovea.Index, with the methods of LangChain's VectorStore and BaseRetriever: add_texts, from_texts,
similarity_search, delete, as_retriever; invoke, get_relevant_documents. LangChain itself is not needed; its chains take any object that
has these. `embedding` is one of LangChain's Embeddings, or TokenVectors, or SentenceVectors.

    store = FoveaStore.from_texts(texts, TokenVectors("model.gguf"))
    store.as_retriever(k=3).invoke("Who kept the light?")
"""
import dataclasses
import uuid

import fovea
import numpy as np


@dataclasses.dataclass
class Document:
    page_content: str
    metadata: dict = dataclasses.field(default_factory=dict)
    id: str = ""


class FoveaStore:
    def __init__(self, embedding, metric="cosine"):
        self.embedding, self.metric = embedding, metric
        self.index, self.documents, self.labels, self.next = None, {}, {}, 0  # documents by label, labels by id

    @classmethod
    def from_texts(cls, texts, embedding, metadatas=None, *, ids=None, **keywords):
        store = cls(embedding, **keywords)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(self, texts, metadatas=None, *, ids=None):
        texts = list(texts)
        ids = list(ids) if ids else [str(uuid.uuid4()) for _ in texts]
        self.delete([one for one in ids if one in self.labels])
        if not texts:
            return ids
        vectors = np.asarray(self.embedding.embed_documents(texts), np.float32)
        self.index = self.index or fovea.Index(vectors.shape[1], self.metric)
        labels = range(self.next, self.next + len(texts))
        self.index.add(vectors, labels)
        self.next += len(texts)
        for label, text, metadata, one in zip(labels, texts, metadatas or [{}] * len(texts), ids):
            self.documents[label], self.labels[one] = Document(text, dict(metadata), one), label
        return ids

    def delete(self, ids=None):
        labels = [self.labels.pop(one) for one in (list(self.labels) if ids is None else ids) if one in self.labels]
        if labels:
            self.index.remove(labels)
        for label in labels:
            del self.documents[label]
        return True

    def similarity_search_with_score(self, query, k=4, filter=None):
        """`filter`: a dict of metadata that must be so, or a function of a Document."""
        fits = (lambda document: filter.items() <= document.metadata.items()) if isinstance(filter, dict) else filter
        if self.index is None:
            return []
        labels, distances = self.index.search(np.asarray(self.embedding.embed_query(query), np.float32), k,
                                              filter=fits and (lambda label: fits(self.documents[label])))
        return [(self.documents[int(label)], float(far)) for label, far in zip(labels, distances) if int(label) in self.documents]

    def similarity_search(self, query, k=4, filter=None):
        return [document for document, _ in self.similarity_search_with_score(query, k, filter)]

    def as_retriever(self, **keywords):
        return Retriever(self, keywords.pop("search_kwargs", None) or keywords)


class Retriever:
    def __init__(self, vectorstore, search_kwargs):
        self.vectorstore, self.search_kwargs = vectorstore, search_kwargs

    def invoke(self, input, config=None, **keywords):
        return self.vectorstore.similarity_search(input, **{**self.search_kwargs, **keywords})

    get_relevant_documents = invoke
