"""Word lists and random names shared by all generators of training text.

Everything listed as HELD_* is kept out of the training text and used only by the evaluation, so a correct
answer there shows copying, not memory.
"""

import re

import asked
import facts

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
MORE_WORDS = """account address airport album alley ankle answer antenna apron arrow artist aspen atlas attempt auction avenue
badge bakery balance balloon bamboo banana banner barley battery bedroom beetle bench berry bicycle biscuit blossom
border bottom boulder bracket branch breakfast breeze brick bronze brother brush bubble budget building bullet bundle
burden butler cabin cable camera campus canal canvas captain caravan cargo carriage castle cattle ceiling cellar cement
center chain chamber channel chapter charcoal chest chicken chimney chocolate chorus circle citizen clay client cliff
climate cloth coast coffee collar college column comet concert contract cookie corner cotton couch counter country
courage cousin crater cream creek crystal culture curtain cushion customer dagger daisy damage danger dancer dawn decade
deposit desert design detail diamond dinner dish distance doctor dolphin donkey dragon drawer dream dress driver dust
eagle earring earth echo editor effort elbow elephant elevator ember emerald empire engine envelope errand essay estate
evening expert fabric factory family farm fashion father fence fever fiddle figure filter finger flame flavor flight
flock floor flower flute folder forehead fortune fountain fragment freight freezer friend frost fruit funnel furnace
gallery gallon garage garlic gate gender ghost giant ginger glacier glass goal goose grain granite grass gravel guard guest
guide gutter hall hand handle harvest hawk heart heaven hedge heritage hill hinge history hobby holiday horizon horn
hospital hotel hunter hurdle iceberg idea image insect invoice iron ivory jar jasmine jelly jewel journal journey judge
juice jungle kernel kingdom kiosk knee knight label lace lake lantana laptop lavender leader leaf leather legend lesson
lever library license lily linen liquid lizard lobby lock lodge lounge luggage lumber machine mantle maple market
marsh mask master matter meal medal melody member memory mercury metal meteor midnight mile milk mill mineral minister
minute mission mitten monkey monster monument mosaic moth motor mouth movie muscle museum mustard napkin nature needle
neighbor nephew nerve nest nickel night noise north notebook number nurse nutmeg oak oasis object ocean office olive opera
orbit orchard order organ oven owner oxygen oyster package page palace palm panel panther parade parcel parent park parrot
partner passage passenger pastry path patient pattern peach peanut pearl pebbly pedal pelican penguin people pepper
pigeon pilot pine pistachio pitcher planet plaster platform plaza plum pocket poem poet police polish pond pony poppy
porch portrait powder prairie present price prince printer prison prize product profit project promise property
quarry quarter queen question quilt rabbit radar radio railway raven reason record region remedy report resort restaurant
reward rhythm rider ring ritual robin robot rocket roof root rose route ruby runner saddler sailor salad sample
sandal satellite sauce scale scarf scene school science scissors scooter screen season seat secret seed senate
sergeant series servant shelf shelter sheriff shield ship shirt shoulder shower shrimp sight signal silence silk singer sister
sketch skirt sleeve slipper smoke snail soap soccer sofa soldier soul source space spark speaker spiral spirit spring
square squirrel stable stadium staircase stamp station statue steam steel stem stomach storm stove stranger straw
stream street string student studio subject suburb subway suit sunset surface swan sweater switch symbol syrup tablet
tailor talent target tavern teacher team teapot temple tenant tennis theater theory thimble thistle thread throat throne
thumb ticket timber tissue title toast tongue tool tooth torch tower town tractor trail treasure treaty triangle tribe
trophy trouble trousers truck truth tulip turkey twig uncle uniform union universe valley value vase vehicle vessel
vest victory village vine vinegar visitor voice volcano voyage wagon waist wallet warrior water weather wedding
weight whale wheat whisper widow willow wing winner wisdom witness wolf wonder wood wool worker world wrist writer
yard yarn year yogurt zipper zone""".split()
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
_PLACES = "City River Lake Hill Bay Falls Valley Springs Park Town Heights Island".split()


def _lexicon():
    """All longer words the model reads elsewhere. Their tokens must be as easy to copy as those of made-up names."""
    told = [q for answer, asked_for, _ in facts.FACTS for q in [answer, *asked_for]]
    told += [q for ways in [*asked.WAYS.values(), *asked.TOPICS.values()] for q in ways]
    return sorted({w for text in told for w in re.findall("[a-z]{4,}", text.lower())} | {w for w in WORDS + MORE_WORDS if len(w) > 3})


_LEXICON = [word for word in _lexicon() if word not in _HELD]


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
    while True:
        name = rng.choice(CITIES) if rng.random() < 0.25 else _city(rng)
        if name.lower() not in _HELD:
            return name


def _city(rng):
    """A made-up city of one to three words, some of them common ones."""
    name = (spliced_word(rng, CITIES) if rng.random() < 0.3 else made_up_word(rng, 2, 3)).capitalize()
    roll = rng.random()
    if roll < 0.14:
        first = rng.choice(WORDS).capitalize() if rng.random() < 0.5 else name
        second = rng.choice([rng.choice(_PLACES), rng.choice(WORDS).capitalize(), made_up_word(rng, 1, 2).capitalize()])
        return first + rng.choice([" ", " ", " de ", f" {rng.choice(['do', 'am', 'del', 'la', 'of'])} "]) + second + rng.choice(["", f" {rng.choice(_PLACES)}"])
    if roll < 0.26:
        return rng.choice(["New", "San", "Port", "Los", "Saint", "Fort", "North", "Lake", "Tel", "Rio", "El", "Mount"]) + " " + name
    if roll < 0.4:
        return name + rng.choice([" de ", " am ", " "]) + made_up_word(rng, 1, 2).capitalize()
    return name + (rng.choice(["burg", "ton", "ville", "stad", "ford", "ia", "port"]) if roll < 0.6 else "")


def person(rng, held=False):
    if held:
        return rng.choice(HELD_NAMES)
    if rng.random() < 0.25:
        return rng.choice(NAMES)
    return (spliced_word(rng, NAMES) if rng.random() < 0.3 else made_up_word(rng, 1, 3)).capitalize()


def spliced_word(rng, words=None):
    """The head of one word and the tail of another: its tokens look like those of words nobody listed here."""
    words = words or _LEXICON
    while True:
        a, b = rng.choice(words).lower(), rng.choice(words).lower()
        word = a[:rng.randint(1, 5)] + b[-rng.randint(2, 6):]
        if word not in _HELD and " " not in word:
            return word


def word(rng, held=False):
    if held:
        return rng.choice(HELD_WORDS)
    roll = rng.random()
    return rng.choice(WORDS) if roll < 0.15 else rng.choice(_LEXICON) if roll < 0.3 else spliced_word(rng) if roll < 0.75 else made_up_word(rng)


def several(rng, held, least, most):
    """Some words. In the training text one of them may come twice: copying must not stop, or go on, at the wrong one."""
    words = [word(rng, held) for _ in range(rng.randint(least, most))]
    if not held and len(words) > 1 and rng.random() < 0.3:
        words[rng.randrange(len(words))] = rng.choice(words)
    return words


def pick(rng, pattern):
    """Expands "{a|b} c": each brace group becomes one of its alternatives (groups do not nest)."""
    out, rest = [], pattern
    while "{" in rest:
        before, rest = rest.split("{", 1)
        group, rest = rest.split("}", 1)
        out += [before, rng.choice(group.split("|"))]
    return "".join(out) + rest
