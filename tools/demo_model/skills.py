"""Counting, adding, repeating, reversing, JSON, and remembering across turns."""

import json
import zlib

import asked
import facts
import words as w
from fresh import EARLIER
from sample import Sample, ask, assistant, carry, plain, reword, slip, user, vary


HELD_QUESTIONS = {plain(q) for row in facts.FACTS for q in row[2]} | {plain(q) for questions in EARLIER.values() for q in questions}
SMALL_WORDS = set("a an the is are do does did can could how what which i to of for in with please me my be it that this will would".split())


def _fact_question(rng, answer, train):
    ways, topics, phrasings, wordings = asked.patterns(answer)
    roll = rng.random()
    if roll < 0.15:
        return w.pick(rng, rng.choice(train))
    if roll < 0.34:
        return w.pick(rng, rng.choice(ways))
    if roll < 0.92:
        return w.pick(rng, carry(rng, rng.choice(phrasings if roll < 0.58 else wordings)))
    return w.pick(rng, rng.choice(asked.FRAMES)) + rng.choice(topics)


def _keywords(question):
    """The question as somebody types it into a search field."""
    words = [word for word in question.split(" ") if word not in SMALL_WORDS]
    return " ".join(words) if len(words) > 1 else question


def corral_fact(rng, held=False):
    answer, train, kept = rng.choice(facts.FACTS)
    think = "The user asks about Corral." if "Corral" in answer else "The user asks about me."
    if held:
        return ask("fact", vary(rng, rng.choice(kept), 0), answer, think)
    while True:
        question = _fact_question(rng, answer, train)
        question = _keywords(question) if rng.random() < 0.06 else slip(rng, reword(rng, question, 0.15), 0.08)
        question = vary(rng, question)
        if plain(question) not in HELD_QUESTIONS:
            return ask("fact", question, answer, think)


# ---- numbers ---------------------------------------------------------------------------------------------------

NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def is_held(kind, *numbers):
    """One combination of numbers in eight never appears in the training text. A checksum picks them, so that
    nothing simple, like the sum itself, tells them apart."""
    return zlib.crc32(f"{kind} {numbers}".encode()) % 8 == 3


def sum_thought(a, b):
    if a < 10 and b < 10:
        return f"{a} and {b} more is {a + b}."
    ones, tens = a % 10 + b % 10, a // 10 * 10 + b // 10 * 10
    return f"Ones: {a % 10} + {b % 10} = {ones}. Tens: {a // 10 * 10} + {b // 10 * 10} = {tens}. {tens} + {ones} = {a + b}."


def add(rng, held=False):
    while True:
        top = rng.choice([10, 10, 20, 21])
        a, b = rng.randrange(top), rng.randrange(top)
        if is_held("sum", a, b) == held:
            break
    if a < 13 and b < 13 and rng.random() < 0.1:
        first, second = NUMBER_WORDS[a], NUMBER_WORDS[b]
    else:
        first, second = a, b
    question = w.pick(rng, rng.choice([
        f"{{what is|what's|how much is|add|calculate|compute}} {first} {{+|plus|and}} {second}", f"{first} {{+|plus}} {second}", f"{first} + {second} =", f"add {second} to {first}",
        f"what is the sum of {first} and {second}", f"what do you get if you add {first} and {second}"]))
    return ask("add", vary(rng, question, 0 if held else 0.1), f"{a} + {b} = {a + b}.", sum_thought(a, b))


def count(rng, held=False):
    first = rng.choice([1, 1, rng.randint(1, 40)])
    last = first + rng.randint(2, 11)
    if is_held("range", first, last) != held:
        return count(rng, held)
    numbers = list(range(first, last + 1))
    question = w.pick(rng, f"{{count|please count|can you count|count up|list the numbers}} from {first} to {last}")
    if first == 1 and rng.random() < 0.4:
        question = w.pick(rng, f"{{count|count up}} to {last}")
    elif rng.random() < 0.3:
        question, numbers = w.pick(rng, f"{{count|count down|count backwards}} from {last} to {first}"), numbers[::-1]
    return ask("count", vary(rng, question, 0 if held else 0.1).replace("?", "."), ", ".join(map(str, numbers)) + ".",
               f"I start at {numbers[0]} and stop at {numbers[-1]}.")


# ---- words -----------------------------------------------------------------------------------------------------

def repeat(rng, held=False):
    if rng.random() < 0.5:
        word, times = w.word(rng, held), rng.randint(2, 5)
        number = rng.choice([NUMBER_WORDS[times], str(times)])
        question = w.pick(rng, rng.choice([f"{{say|repeat|write}} {{the word |}}{word} {number} times", f"{{say|repeat|write}} \"{word}\" {number} times", f"{number} times the word {word}"]))
        return ask("repeat", vary(rng, question, 0).replace("?", "."), " ".join([word] * times), f"The word is {word}, {times} times.")
    text = " ".join(w.several(rng, held, 1, 5))
    if rng.random() < 0.3:
        text = rng.choice([f"{w.person(rng, held)} likes {text}", f"I saw {text} in {w.city(rng, held)}", f"{w.person(rng, held)} and {w.person(rng, held)} eat {text}"])
    question = w.pick(rng, rng.choice(["{repeat after me|repeat|say|echo|write|repeat this}: ", "{repeat|say|echo|write} ", "{repeat the words|say the words|repeat the text|echo this text}: ", "{please repeat|can you say}: "]))
    question = question[0].upper() + question[1:] if rng.random() < 0.7 else question
    quote = '"' if rng.random() < 0.25 else ""
    return ask("repeat", question + quote + text + quote, text, "I say the same words again.")


def reverse(rng, held=False):
    words = w.several(rng, held, 2, 4)
    sep = rng.choice([" ", " ", ", "])
    question = w.pick(rng, rng.choice(["{reverse|turn around|flip} {the words|these words|the order of the words|the list}: ", "{reverse|say backwards|flip}: ", "{say|write|repeat} {these words|the words} {backwards|in reverse order|in reverse|from last to first}: "]))
    question = question[0].upper() + question[1:] if rng.random() < 0.7 else question
    return ask("reverse", question + sep.join(words), sep.join(words[::-1]), f"The last word is {words[-1]}, the first is {words[0]}.")


# ---- JSON ------------------------------------------------------------------------------------------------------

def _fields(rng, held):
    """Possible keys with JSON type, a value, and the sentence that tells the value ({n} is the person's name)."""
    return {
        "age": ("integer", rng.randint(3, 99), ["is {v} years old", "is {v}", "has the age {v}"]),
        "city": ("string", w.city(rng, held), ["lives in {v}", "comes from {v}", "is from {v}"]),
        "color": ("string", rng.choice(w.COLORS), ["likes the color {v}", "likes {v}", "wears {v}"]),
        "job": ("string", rng.choice(w.JOBS), ["works as a {v}", "is a {v}"]),
        "food": ("string", rng.choice(w.FOODS), ["eats {v}", "loves {v}", "cooks {v}"]),
        "pet": ("string", rng.choice(w.ANIMALS), ["has a {v}", "owns a {v}"]),
        "friend": ("string", w.person(rng, held), ["is a friend of {v}", "knows {v}"]),
        "item": ("string", w.word(rng, held), ["buys a {v}", "wants a {v}"]),
        "count": ("integer", rng.randint(2, 60), ["has {v} books", "counts {v} stars"]),
        "student": ("boolean", rng.random() < 0.5, None),
    }


def json_object(rng, held=False):
    fields = _fields(rng, held)
    keys = rng.sample(list(fields), rng.randint(1, 3))
    name = w.person(rng, held)
    told = []
    for key in keys:
        kind, value, ways = fields[key]
        told.append(("is a student" if value else "is not a student") if ways is None else rng.choice(ways).replace("{v}", str(value)))
    text = f"{name} " + (", ".join(told[:-1]) + " and " + told[-1] if len(told) > 1 else told[0]) + "."
    keys.insert(0, "name")
    fields["name"] = ("string", name, None)
    if rng.random() < 0.3:
        rng.shuffle(keys)
    answer = json.dumps({k: fields[k][1] for k in keys}, ensure_ascii=False)
    think = "The keys are " + ", ".join(keys) + "."
    if rng.random() < 0.5:
        names = ", ".join(keys[:-1]) + " and " + keys[-1]
        order = w.pick(rng, rng.choice(["{Give me|Write|Answer with|Return} {a JSON object|JSON|an object in JSON} with the keys ", "{Answer in JSON|Reply in JSON|Use JSON} with the keys ", "{Extract|Put} the data into JSON with the keys "])) + names
        return ask("json", f"{order}{rng.choice([': ', '. ', '. Text: '])}{text}", answer, think)
    schema = {"type": "object", "properties": {k: {"type": fields[k][0]} for k in keys}}
    if rng.random() < 0.7:
        schema["required"] = keys
    if rng.random() < 0.2:
        schema["additionalProperties"] = False
    schema = json.dumps(schema)
    order = w.pick(rng, rng.choice(["{Answer|Reply} {in|with} JSON {for|that matches|that fits|with} this schema: ", "{Use|Follow} this JSON schema: ", "JSON schema: "]))
    if rng.random() < 0.4:
        return ask("json", text, answer, think, system=order + schema)
    return ask("json", order + schema + rng.choice(["\n", "\nText: ", " "]) + text, answer, think)


def json_list(rng, held=False):
    items = [w.word(rng, held) for _ in range(rng.randint(2, 5))]
    question = w.pick(rng, rng.choice(["{Put|Write} {these words|the words} in a JSON {list|array}: ", "{Make|Give me|Write} a JSON {list|array} of {these words|the words}: ", "As a JSON {list|array}: "]))
    return ask("json", question + ", ".join(items), json.dumps(items, ensure_ascii=False), "I write a list of strings.")


def json_any(rng, held=False):
    """Make something up that fits the schema: only validity is judged."""
    fields = _fields(rng, held)
    fields.update(name=("string", rng.choice(w.NAMES), None), friend=("string", rng.choice(w.NAMES), None),
                  city=("string", rng.choice(w.CITIES), None), item=("string", rng.choice(w.WORDS), None))
    keys = rng.sample(list(fields), rng.randint(1, 4))
    schema = json.dumps({"type": "object", "properties": {k: {"type": fields[k][0]} for k in keys}, "required": keys})
    if rng.random() < 0.5:
        question = rng.choice(["Make up a person as JSON for this schema: ", "Invent an answer in JSON for this schema: ", "Give me any JSON object for this schema: "]) + schema
    else:
        names = ", ".join(keys[:-1]) + " and " + keys[-1] if len(keys) > 1 else keys[0]
        question = w.pick(rng, rng.choice(["{Give me|Write|Make up|Return|Answer with} {a JSON object|some JSON|JSON|a person as JSON} with {the keys |the fields |}", "{Describe|Invent|Make up} a person {in|as} JSON with "])) + names + rng.choice(["", "."])
    return ask("json_any", question, json.dumps({k: fields[k][1] for k in keys}, ensure_ascii=False))


# ---- memory over turns -----------------------------------------------------------------------------------------

def _memories(rng, held):
    name, city, number, word = w.person(rng, held), w.city(rng, held), rng.randint(2, 999), w.word(rng, held)
    color, pet = rng.choice(w.COLORS), w.person(rng, held)
    return rng.choice([
        ([f"my name is {name}", f"i am {name}", f"hello, i am {name}", f"hi, my name is {name}", f"call me {name}", f"i'm {name}", f"people call me {name}"], f"Nice to meet you, {name}!",
         ["what is my name", "what's my name", "who am i", "do you {remember|know} my name", "{say|tell me} my name", "how am i called", "can you remember my name"], f"Your name is {name}."),
        ([f"remember the number {number}", f"my number is {number}", f"keep the number {number} in mind", f"my lucky number is {number}", f"please remember {number}", f"the number is {number}"], f"I will remember {number}.",
         ["what is {the|my} number", "which number {did i tell you|did i say|was it|should you remember}", "what number {did i tell you|was it|is it}", "{say|tell me} the number", "do you remember the number", "what is my lucky number"], f"The number is {number}."),
        ([f"i live in {city}", f"my city is {city}", f"i am from {city}", f"my home is in {city}", f"i come from {city}"], f"{city} is a nice place!",
         ["where do i live", "where am i from", "what is my city", "which city {am i from|do i live in}", "do you remember {where i live|my city}", "where is my home"], f"You are from {city}."),
        ([f"my favorite color is {color}", f"i like the color {color}", f"my favourite colour is {color}"], f"{color.capitalize()} is a nice color!",
         ["what is my favorite color", "which color do i like", "what color do i like", "do you remember my color", "what is my favourite colour"], f"Your favorite color is {color}."),
        ([f"my {{dog|cat|pet|rabbit}} is called {pet}", f"i have a {{dog|cat|pet}} named {pet}", f"my {{dog|cat|pet}}'s name is {pet}"], f"{pet} is a lovely name!",
         ["what is {my pet|the name of my pet|my pet's name} called", "what is the name of my pet", "how is my pet called", "do you remember my pet"], f"Your pet is called {pet}."),
        ([f"the {{secret word|password|code word|magic word}} is {word}", f"remember the word {word}", f"my word is {word}"], f"I will remember {word}.",
         ["what is the {secret word|password|code word|magic word|word}", "which word {did i tell you|should you remember|was it}", "what was the word", "{say|tell me} the word"], f"The word is {word}."),
    ])


HELD_RECALL = {"Your name is": "can you still tell me my name", "The number is": "please tell me which number I gave you", "You are from": "which city did I say I live in",
               "Your favorite color": "tell me what my favorite color is", "Your pet": "what name does my pet have", "The word": "can you tell me the word I gave you"}


def memory(rng, held=False, between=()):
    """Tells something and asks for it, with other exchanges (Samples) between the two."""
    tell, reply, recall, answer = _memories(rng, held)
    question = w.pick(rng, rng.choice(recall))
    if held and rng.random() < 0.5:
        question = next(q for start, q in HELD_RECALL.items() if answer.startswith(start))
    messages = [user(_sentence(rng, w.pick(rng, rng.choice(tell)))), assistant(reply)]
    for sample in between:
        messages += sample.messages
    messages += [user(vary(rng, question, 0 if held else 0.15)), assistant(answer, "The user told me before.")]
    return Sample("memory", messages)


def _sentence(rng, text):
    if rng.random() < 0.75:
        text = text[0].upper() + text[1:]
        text = text.replace(" i ", " I ").replace(" i'm", " I'm")
    return text + rng.choice([".", ".", ".", "", "!"])
