"""Random JSON schemas and values for them, from a seed: for tests that compare verdicts and for requests."""
import random

NAMES = ["a", "b", "name", "size", "items", "to", "x y", "\u00e9", "quote\"d"]
WORDS = ["", "a", "red", "green", "it is", "\u00fcber", "tab\there", "x" * 9, "\\", "</b>"]
PATTERNS = ["^[a-z]{1,4}$", "^a|b$", "[0-9]", "^(ab|cd)+$", "^[^ ]*$", "^x?y*z{0,2}$"]


class Schemas:
    """small: every value is short, as a small model at a high temperature must come to an end; closed objects."""

    def __init__(self, seed, small=False):
        self.r, self.small = random.Random(seed), small

    def maybe(self, p):
        return self.r.random() < p

    def schema(self, depth=3):
        kinds = ["string", "integer", "number", "boolean", "null", "enum", "const"]
        if depth > 0:
            kinds += ["object"] * 4 + ["array"] * 3 + ["anyOf"]
            if not self.small:
                kinds += ["allOf", "oneOf", "not", "if", "ref", "types"]
        return getattr(self, "make_" + self.r.choice(kinds))(depth)

    def make_string(self, depth):
        s = {"type": "string"}
        if self.small:
            s["maxLength"] = self.r.randint(0, 8)
            return s
        if self.maybe(.4):
            s["minLength"] = self.r.randint(0, 4)
        if self.maybe(.4):
            s["maxLength"] = s.get("minLength", 0) + self.r.randint(0, 6)
        if self.maybe(.3):
            s["pattern"] = self.r.choice(PATTERNS)
        return s

    def make_integer(self, depth):
        s = {"type": "integer"}
        if self.small or self.maybe(.5):
            s["minimum"] = self.r.randint(-20, 20)
            s["maximum"] = s["minimum"] + self.r.randint(0, 100)
        elif self.maybe(.5):
            s[self.r.choice(["exclusiveMinimum", "exclusiveMaximum"])] = self.r.randint(-9, 9)
        if self.maybe(.2):
            s["multipleOf"] = self.r.choice([1, 2, 3, 5, 7])
            if "maximum" in s:
                s["maximum"] += 7  # so that there is one
        return s

    def make_number(self, depth):
        if self.small:
            return self.make_integer(depth)
        s = {"type": "number"}
        if self.maybe(.4):
            s["minimum"] = self.r.choice([-1.5, 0, 0.25, 3])
        if self.maybe(.4):
            s["maximum"] = self.r.choice([3, 4.5, 100])
        return s

    def make_boolean(self, depth):
        return {"type": "boolean"}

    def make_null(self, depth):
        return {"type": "null"}

    def make_enum(self, depth):
        return {"enum": self.r.sample(WORDS + [1, 2, 30, True, None], self.r.randint(1, 4))}

    def make_const(self, depth):
        return {"const": self.r.choice(WORDS + [0, 17, False, None])}

    def make_types(self, depth):
        return {"type": self.r.sample(["string", "integer", "null", "boolean", "array", "object"], 2)}

    def make_array(self, depth):
        s = {"type": "array", "items": self.schema(depth - 1)}
        if self.small or self.maybe(.5):
            s["maxItems"] = self.r.randint(0, 3)
        if self.maybe(.3):
            s["minItems"] = self.r.randint(0, s.get("maxItems", 3))
        if not self.small and self.maybe(.3):
            s["prefixItems"] = [self.schema(depth - 1) for _ in range(self.r.randint(1, 2))]
        if not self.small and self.maybe(.15):
            s["contains"] = self.schema(0)
        if self.maybe(.15):
            s = {"type": "array", "uniqueItems": True, "minItems": self.r.randint(0, 2), "items": self.r.choice(
                [{"type": "boolean"}, {"enum": ["a", "ab", 3, None, False]}, {"oneOf": [self.make_const(0), {"type": "null"}]}])}
        return s

    def make_object(self, depth):
        names = self.r.sample(NAMES, self.r.randint(0, 4))
        s = {"type": "object", "properties": {n: self.schema(depth - 1) for n in names},
             "required": [n for n in names if self.maybe(.5)]}
        if self.small or self.maybe(.4):
            s["additionalProperties"] = False
        elif self.maybe(.3):
            s["additionalProperties"] = self.schema(0)
        if not self.small and self.maybe(.2):
            s["patternProperties"] = {self.r.choice(["^x", "e$", "^[a-c]$"]): self.schema(0)}
        if not self.small and self.maybe(.2):
            s["minProperties"] = self.r.randint(0, 2)
        if not self.small and self.maybe(.2):
            s["maxProperties"] = self.r.randint(max(1, len(s["required"])), 5)
        if not self.small and len(names) > 1 and self.maybe(.15):
            s["dependentRequired"] = {names[0]: [names[1]]}
        return s

    def make_anyOf(self, depth):
        return {"anyOf": [self.schema(depth - 1) for _ in range(2)]}

    def make_oneOf(self, depth):
        return {"oneOf": [self.schema(depth - 1) for _ in range(2)]}

    def make_allOf(self, depth):
        return {"allOf": [self.schema(depth - 1), self.schema(0)]}

    def make_not(self, depth):
        return {"not": self.schema(0)}

    def make_if(self, depth):
        return {"if": self.schema(0), "then": self.schema(0), "else": self.schema(depth - 1)}

    def make_ref(self, depth):
        return {"$defs": {"d": self.schema(depth - 1)}, "anyOf": [{"$ref": "#/$defs/d"}, {"type": "null"}]} \
            if depth == 3 else self.schema(depth - 1)

    def value(self, s, depth=3):
        """Something that may be valid under s, or nearly so."""
        if not isinstance(s, dict) or self.maybe(.1) or depth < 0:
            return self.any_value(depth)
        if "const" in s:
            return s["const"]
        if "enum" in s:
            return self.r.choice(s["enum"])
        for name in ("anyOf", "oneOf", "allOf"):
            if name in s:
                return self.value(self.r.choice(s[name]), depth)
        t = s.get("type")
        t = self.r.choice(t) if isinstance(t, list) else t
        if t == "object":
            o = {n: self.value(v, depth - 1) for n, v in s.get("properties", {}).items()
                 if n in s.get("required", []) and not self.maybe(.05) or self.maybe(.5)}
            while self.maybe(.25):
                o[self.r.choice(NAMES + ["xa", "tree"])] = self.any_value(depth - 1)
            return o
        if t == "array":
            n = self.r.randint(s.get("minItems", 0), s.get("maxItems", 3) + (1 if self.maybe(.1) else 0))
            prefix = s.get("prefixItems", [])
            return [self.value(prefix[i] if i < len(prefix) else s.get("items", {}), depth - 1) for i in range(n)]
        if t == "string":
            if "pattern" in s and self.maybe(.8):
                return self.r.choice(["abc", "ab", "abcd", "a1", "b", "xyz", "yz", "ababcd", "7"])
            n = self.r.randint(s.get("minLength", 0), s.get("maxLength", 6) + (1 if self.maybe(.1) else 0))
            return "".join(self.r.choice("abz 0\u00e9\"\\\n") for _ in range(n))
        if t == "integer":
            lo = s.get("minimum", -20)
            return self.r.randint(lo - 1, s.get("maximum", lo + 40) + 1) // (m := s.get("multipleOf", 1)) * m
        if t == "number":
            return self.r.choice([-2, 0, 0.25, 0.5, 3, 4.5, 4.75, 99.5, 101])
        return {"boolean": self.maybe(.5), "null": None}.get(t, self.any_value(depth))

    def any_value(self, depth):
        simple = [None, True, False, 0, 1, -3, 30, 2.5, *WORDS]
        if depth <= 0 or self.maybe(.7):
            return self.r.choice(simple)
        if self.maybe(.5):
            return [self.any_value(depth - 1) for _ in range(self.r.randint(0, 3))]
        return {self.r.choice(NAMES): self.any_value(depth - 1) for _ in range(self.r.randint(0, 3))}
