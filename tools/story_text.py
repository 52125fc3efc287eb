#!/usr/bin/env python3
"""Writes short stories: a grammar over our own words, with people, things and places that stay the same within a story.

    tools/story_text.py [--seed N] [--stories N]

Standard library only; the same seed gives the same text with every Python 3.9 or newer. The stories are what
tools/story_train.py trains on; nothing in them is taken from anywhere.

A template holds [this|that], of which one is taken, and {slot}, which stands for a word of the story. A slot with a capital
letter begins a sentence.
"""

import argparse
import random
import re

SEPARATOR = "\n\n"

PEOPLE = [("Mina", "girl", "she"), ("Tobo", "boy", "he"), ("Pip", "mouse", "he"), ("Lora", "hen", "she"),
          ("Bram", "bear", "he"), ("Nell", "fox", "she"), ("Otto", "owl", "he"), ("Wanda", "duck", "she"),
          ("Gus", "goat", "he"), ("Tilly", "cat", "she"), ("Finn", "dog", "he"), ("Rosa", "rabbit", "she")]
PRONOUNS = {"she": ("she", "her", "her", "herself"), "he": ("he", "him", "his", "himself")}
SIZES = ["little", "small", "young", "old", "quiet", "merry", "clever", "shy"]
THINGS = ["kite", "drum", "cup", "hat", "bell", "ball", "lamp", "boat", "basket", "flute", "scarf", "coin"]
COLOURS = ["red", "blue", "green", "yellow", "white", "silver"]
PLACES = [("by the river", "to the river"), ("in the garden", "to the garden"), ("in the forest", "to the forest"),
          ("on the hill", "up the hill"), ("at the market", "to the market"), ("near the old mill", "to the old mill"),
          ("on the beach", "to the beach"), ("by the pond", "to the pond")]
HIDDEN = ["under a bush", "behind a big stone", "in the tall grass", "under the bridge", "in a hollow tree",
          "behind the fence", "beside a bench", "under a heap of leaves"]
FOODS = ["bread", "soup", "honey", "cheese", "plums", "apples", "nuts", "cake"]
WEATHERS = ["sunny", "windy", "warm", "cold", "foggy", "bright"]
FEARS = [("the dark", "look at the stars", "the dark was only the other side of the day"),
         ("the deep water", "put one foot in the water", "the water was cool and kind"),
         ("the storm", "count the drums of the thunder", "the storm was only a loud song"),
         ("the tall ladder", "climb one step at a time", "the top was not so far away"),
         ("the old house", "knock on the door", "the house was only empty and sad")]
PARTS = ["a long rope", "some wood", "an old wheel", "a bag of nails", "a sheet of paper", "a pot of paint", "some wool"]
MAKES = ["a cart", "a swing", "a bird house", "a table", "a raft", "a big sign"]
LESSONS = ["A good friend is better than [a full purse|gold|any toy].", "It is good to ask for help.",
           "Work is light when it is shared.", "[Small|Little] steps go a long way.", "Kind words cost nothing.",
           "The one who looks with care will find."]

OPENINGS = ["Once there was a {size} {kind} [named|called] {Name}.", "{Name} was a {size} {kind}.",
            "In a [small house|little village] lived a {size} {kind} [named|called] {Name}.",
            "There once was a {kind} [whose name was|called] {Name}, and {they} was [very |]{size}."]
MORNINGS = ["One {weather} morning", "On a {weather} day", "One day", "One {weather} afternoon", "Early one morning"]
ENDINGS = ["From that day on, {name} and {friend} were [good|the best of] friends.",
           "That evening they ate {food} and [laughed|sang|told stories] until [late|the moon came up].",
           "[Then|At last] they went home, [tired|happy|tired but happy].",
           "{Name} slept well that night and dreamed of {place_end}."]

LOST = [["{They} had a {colour} {thing}, and {they} [loved it very much|took it everywhere|kept it close].",
         "{They} had a {colour} {thing} from {their} [mother|father|grandmother]."],
        ["{Morning}, {name} went {to_place} with the {thing}.",
         "{Morning}, {name} took the {thing} and [walked|went|ran] {to_place}."],
        ["{They} played [all day|for a long time|until noon], and then the {thing} was gone.",
         "But when {they} [wanted to go|turned to go] home, the {colour} {thing} was gone.",
         "The wind was strong, and soon the {thing} was [gone|nowhere to be seen]."],
        ["{Name} looked {hidden_one}, but it was not there.", "{They} looked {hidden_one} and {hidden_two}, but found nothing.",
         "{They} sat down and [began to cry|was sad]."],
        ['Then {friend} the {friend_kind} came by. "What is wrong?" [asked {friend}|{friend_they} asked].',
         '{Friend} the {friend_kind} saw {them}. "Why are you sad?" [asked {friend}|{friend_they} asked].'],
        ['"I lost my {colour} {thing}," said {name}.', '"My {thing} is gone," said {name}. "It is {colour}."',
         '"I can not find my {colour} {thing}," {they} said.'],
        ['"[Do not worry|Do not cry]," said {friend}. "[I will help you|We will look together]."',
         '"Let us look together," said {friend}.'],
        ["They looked {hidden_one} and {hidden_two}.", "They [walked|went] back {to_place} and looked {hidden_two}.",
         "{Friend} looked {hidden_two}, and {name} looked {hidden_one}."],
        ["At last they found the {thing} {hidden_three}.", "And there it was: the {colour} {thing} lay {hidden_three}.",
         'Then {friend} called, "Here it is!" The {thing} was {hidden_three}.'],
        ['"Thank you, {friend}," said {name}.', '{Name} was so [happy|glad] that {they} [jumped|danced|sang]. "Thank you!" {they} said.',
         '"Thank you for your help," said {name}, and gave {friend} some {food}.']]

SHARE = [["{Morning}, {name} met {friend} the {friend_kind} {place}.",
          "{Morning}, {name} and {friend} the {friend_kind} [played|sat|walked] {place}."],
         ["They saw a {colour} {thing} {hidden_one}.", "{Hidden_one} they found a {colour} {thing}."],
         ['"It is mine," said {name}. "I saw it first."', '"I want the {thing}," said {name}.'],
         ['"No, it is mine," said {friend}.', '"But I want it too," said {friend}.'],
         ["They pulled [and pulled|this way and that way], and [nobody was happy|both became angry].",
          "They did not speak for a long time.", "{Name} turned away, and {friend} was sad."],
         ["Then {name} had an idea.", "After a while {name} [was sorry|felt bad]."],
         ['"You can have the {thing} today, and I can have it tomorrow," {they} said.',
          '"Let us share the {thing}," said {name}. "[We can play together|Then we both have it]."',
          '"Let us take turns with the {thing}," said {name}.'],
         ['"That is a good idea," said {friend}.', '"Yes, let us do that," said {friend}, and smiled.',
          "{Friend} [thought for a moment and|looked at {name} and] said yes."],
         ["So they [did|shared it], and the {thing} made them both happy.", "And so the {colour} {thing} made them friends."]]

BRAVE = [["{They} was afraid of {fear}.", "There was one thing that {they} feared: {fear}."],
         ["{Morning}, {friend} the {friend_kind} came [to visit|to the door].",
          "{Morning}, {name} met {friend} the {friend_kind} {place}."],
         ['"Come with me," said {friend}. "I want to go {to_place}."', '"Will you come {to_place} with me?" asked {friend}.'],
         ['"I can not," said {name}. "I am afraid of {fear}."', '{Name} [shook {their} head|looked down]. "I am afraid of {fear}," {they} said.'],
         ['"I was afraid too," said {friend}. "[Hold my hand|Stay with me], and {try}."',
          '"Then we go together," said {friend}. "First we {try}."'],
         ["{Name} [took a deep breath|closed {their} eyes|was silent for a moment].", "So {name} held on to {friend}."],
         ["[Slowly|Step by step] {they} did it.", "It was [hard|not easy], but {they} did it."],
         ["And then {they} saw that {truth}.", "Now {name} knew that {truth}."],
         ['"I did it!" said {name}.', '"You were very brave," said {friend}.', "{They} was proud of {themself}."]]

MAKE = [["{They} wanted to make {make} for {friend} the {friend_kind}.",
         "Soon it was the birthday of {friend} the {friend_kind}, and {name} wanted to make {make}."],
        ["{Morning}, {they} went {to_place} to find {part_one} and {part_two}.",
         "For that {they} needed {part_one} and {part_two}."],
        ["{Place_begin} {they} met {helper} the {helper_kind}.", "On the way {they} met {helper} the {helper_kind}."],
        ['"Do you have {part_one}?" asked {name}.', '"I am looking for {part_one}," said {name}.'],
        ['"I have {part_one}," said {helper}. "What will you give me?"', '"Yes," said {helper}, "but I am hungry."'],
        ["{Name} gave {helper_them} some {food}, and {helper} was glad.", "So {name} shared {their} {food} with {helper}."],
        ["Then {they} found {part_two} {hidden_one}.", "And {hidden_two} {they} found {part_two}."],
        ["{Name} worked [all day|until it was dark|for two days].", "{They} worked hard, and {helper} helped {them}."],
        ["In the end there was {make}, and it was {colour}.", "At last it was done: {make}, as {colour} as could be."],
        ['"Is this for me?" asked {friend}. "It is [wonderful|beautiful]!"', "{Friend} was so happy that {friend_they} could not speak.",
         '"I made it for you," said {name}. {Friend} [smiled|laughed with joy].']]

TRADE = [["{They} had [a basket of|more than enough] {food}.", "{They} was known for {their} {food}."],
         ["{Morning}, {they} went {to_place} to sell the {food}.", "{Morning}, {they} carried the {food} {to_place}."],
         ["There {they} met {friend} the {friend_kind}, who had a {colour} {thing}.",
          "{Friend} the {friend_kind} was there too, with a {colour} {thing} in [a bag|{friend_their} arms]."],
         ['"What do you want for the {thing}?" asked {name}.', '"That is a fine {thing}," said {name}.'],
         ['"I am hungry," said {friend}. "Give me some {food}."', '"I will give it to you for your {food}," said {friend}.'],
         ["So {name} gave {friend} the {food} and took the {colour} {thing}.", "{Friend} took the {food}, and {name} took the {colour} {thing}."],
         ["But on the way home {they} heard {helper} the {helper_kind} cry.", "Then {name} saw {helper} the {helper_kind}, who was sad."],
         ['"I have nothing to play with," said {helper}.', '"Today is my birthday," said {helper}, "and nobody knows."'],
         ["{Name} looked at the {thing} for a long time.", "{Name} thought about it, but not for long."],
         ['"Then the {colour} {thing} is for you," {they} said.', "{They} gave {helper_them} the {colour} {thing} and smiled."],
         ["{Helper} was [so |very ]happy, and {name} was even happier.", '"Thank you, {name}," said {helper}. "You are very kind."']]

PLOTS = [LOST, SHARE, BRAVE, MAKE, TRADE]


def choose(template, rng):
    """Takes one of each [this|that], innermost first."""
    inner = re.compile(r"\[([^\[\]]*)\]")
    while True:
        found = inner.search(template)
        if not found:
            return template
        options = found.group(1).split("|")
        template = template[:found.start()] + options[rng.randrange(len(options))] + template[found.end():]


def person_slots(person, prefix):
    name, kind, pronoun = person
    subject, target, owner, reflexive = PRONOUNS[pronoun]
    words = {"": name, "kind": kind, "they": subject, "them": target, "their": owner, "themself": reflexive}
    if not prefix:
        words["name"] = words.pop("")
        return words
    return {prefix + ("_" + key if key else ""): word for key, word in words.items()}


def pick(rng, words, count=1):
    return rng.sample(words, count)


def story_slots(rng):
    name, friend, helper = pick(rng, PEOPLE, 3)
    slots = person_slots(name, "") | person_slots(friend, "friend") | person_slots(helper, "helper")
    slots["place"], slots["to_place"] = pick(rng, PLACES)[0]
    slots["place_begin"] = slots["place"]
    slots["place_end"] = slots["place"].split(" ", 1)[1]
    slots["hidden_one"], slots["hidden_two"], slots["hidden_three"] = pick(rng, HIDDEN, 3)
    slots["part_one"], slots["part_two"] = pick(rng, PARTS, 2)
    slots["fear"], slots["try"], slots["truth"] = pick(rng, FEARS)[0]
    for slot, words in (("size", SIZES), ("thing", THINGS), ("colour", COLOURS), ("food", FOODS), ("weather", WEATHERS),
                        ("make", MAKES)):
        slots[slot] = pick(rng, words)[0]
    slots["morning"] = pick(rng, MORNINGS)[0].format(**slots)
    return slots


def story(rng):
    slots = story_slots(rng)
    slots |= {key[0].upper() + key[1:]: word[0].upper() + word[1:] for key, word in slots.items()}
    sentences = [pick(rng, OPENINGS)[0]] + [pick(rng, group)[0] for group in pick(rng, PLOTS)[0]]
    sentences.append(pick(rng, ENDINGS)[0])
    if rng.random() < 0.5:
        sentences.append(pick(rng, LESSONS)[0])
    return " ".join(choose(sentence, rng).format(**slots) for sentence in sentences)


def stories(seed, count):
    rng = random.Random(seed)
    return [story(rng) for _ in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stories", type=int, default=10)
    arguments = parser.parse_args()
    print(SEPARATOR.join(stories(arguments.seed, arguments.stories)))


if __name__ == "__main__":
    main()
