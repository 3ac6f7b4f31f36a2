"""Word lists and random names shared by all generators of training text.

Everything listed as HELD_* is kept out of the training text and used only by the evaluation, so a correct
answer there shows copying, not memory.
"""

CITIES = """Paris London Berlin Madrid Rome Vienna Prague Dublin Oslo Athens Boston Chicago Denver Seattle Toronto
Tokyo Seoul Delhi Mumbai Cairo Sydney Warsaw Hamburg Milan Porto Geneva Lyon Bern Naples Dallas Houston Miami
Lima Bogota Beijing Shanghai Bangkok Manila Jakarta Accra Tunis Munich Glasgow Utrecht""".split() + [
    "New York", "San Francisco", "Los Angeles", "Cape Town", "Hong Kong", "Buenos Aires"]
HELD_CITIES = """Lisbon Nairobi Osaka Quito Helsinki Tallinn Krakow Montreal Havana Kyoto Bergen Valencia Ankara
Santiago Melbourne Phoenix Portland Riga Zagreb Dakar Hanoi Perth Antwerp Leipzig Bristol Calgary Tbilisi Malmö
Zürich Reykjavik""".split() + ["Rio de Janeiro", "Tel Aviv", "Salt Lake City", "Kuala Lumpur"]

NAMES = """Anna Ben Clara David Emma Frank Greta Henry Ida Jack Kate Leo Maria Nina Oscar Paul Rosa Sam Tina Victor
Alice Bob Carol Peter Laura Tom Julia Max Sara Eric Helen Martin Lucy Simon Ella Adam Eva Noah Mia Liam""".split()
HELD_NAMES = """Freya Tobias Yusuf Priya Gustav Ingrid Mateo Keiko Amara Dmitri Leila Hugo Wendy Rashid Chloe Felix
Nadia Otto Zoe Callum Bianca Stefan Imogen Rafael""".split()

WORDS = """apple river stone cloud house garden window table chair bread water paper pencil bottle music forest bridge
candle mountain island summer winter spring autumn morning evening rabbit horse tiger eagle salmon turtle spider
silver golden purple orange yellow green blue red black white brown pink small large quiet happy gentle brave clever
lamp door key box ship train plane boat car wheel road field sand snow rain wind fire light shadow star moon sun
book letter story song drum flute piano guitar violin kitchen basket bucket hammer ladder carpet mirror pillow
blanket button pocket ribbon jacket hat glove shoe coin bell clock map flag rope net cup plate spoon fork knife
soup cheese honey butter pepper salt sugar lemon cherry grape melon carrot onion potato tomato bean corn rice""".split()
HELD_WORDS = """walnut lantern compass meadow thunder pebble feather velvet copper harbor canyon saddle trumpet
beaver falcon otter cactus orchid acorn marble anchor barrel puzzle kettle zebra magnet pumpkin sparrow tunnel
helmet""".split()

ANIMALS = "fox cat dog bear crow mouse duck goat frog hedgehog rabbit horse tiger turtle lion wolf sheep deer".split()
COLORS = "red blue green yellow purple orange white black brown pink silver golden".split()
FOODS = "pizza soup rice bread pasta cheese salad curry noodles apples cherries potatoes honey tomatoes".split()
JOBS = "teacher baker doctor farmer painter nurse pilot writer cook singer driver gardener sailor builder".split()
ROOMS = "kitchen|bedroom|living room|bathroom|hall|garage|office|garden|cellar|attic".split("|")
LANGUAGES = "French German Spanish Italian Dutch Polish Swedish Greek Turkish Portuguese Japanese Finnish".split()

_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl gr kl pl pr qu sh sl st th tr".split()
_VOWELS = "a e i o u a e i o ai ea ee ia io oo ou y".split()
_CODAS = [""] * 10 + "n r l s m d t k nd rt st ng ck x".split()
_HELD = {w.lower() for w in HELD_CITIES + HELD_NAMES + HELD_WORDS}


def made_up_word(rng, least=1, most=3):
    """A random pronounceable word: the fuel that makes copying a habit instead of a list."""
    while True:
        word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
                       for _ in range(rng.randint(least, most)))
        if rng.random() < 0.15:
            word = rng.choice("aeiou") + word
        if rng.random() < 0.03:
            word = word.replace("a", "ä", 1).replace("o", "ö", 1).replace("u", "ü", 1).replace("e", "é", 1)
        if len(word) > 2 and word not in _HELD:
            return word


def city(rng, held=False):
    if held:
        return rng.choice(HELD_CITIES)
    roll = rng.random()
    if roll < 0.25:
        return rng.choice(CITIES)
    name = (spliced_word(rng, CITIES) if rng.random() < 0.3 else made_up_word(rng, 2, 3)).capitalize()
    if roll < 0.4:
        return rng.choice(["New", "San", "Port", "Los", "Saint", "Fort", "North", "Lake"]) + " " + name
    if roll < 0.5:
        return name + rng.choice([" de ", " am ", " "]) + made_up_word(rng, 1, 2).capitalize()
    return name + (rng.choice(["burg", "ton", "ville", "stad", "ford", "ia", "port"]) if roll < 0.65 else "")


def person(rng, held=False):
    if held:
        return rng.choice(HELD_NAMES)
    if rng.random() < 0.25:
        return rng.choice(NAMES)
    return (spliced_word(rng, NAMES) if rng.random() < 0.3 else made_up_word(rng, 1, 3)).capitalize()


def spliced_word(rng, words=None):
    """The head of one word and the tail of another: its tokens look like those of words nobody listed here."""
    while True:
        a, b = rng.choice(words or WORDS).lower(), rng.choice(words or WORDS).lower()
        word = a[:rng.randint(2, 4)] + b[-rng.randint(2, 5):]
        if word not in _HELD and " " not in word:
            return word


def word(rng, held=False):
    if held:
        return rng.choice(HELD_WORDS)
    roll = rng.random()
    return rng.choice(WORDS) if roll < 0.35 else spliced_word(rng) if roll < 0.7 else made_up_word(rng)


def pick(rng, pattern):
    """Expands "{a|b} c": each brace group becomes one of its alternatives (groups do not nest)."""
    out, rest = [], pattern
    while "{" in rest:
        before, rest = rest.split("{", 1)
        group, rest = rest.split("}", 1)
        out += [before, rng.choice(group.split("|"))]
    return "".join(out) + rest
