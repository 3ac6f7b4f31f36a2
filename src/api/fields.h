/* Bodies of requests as tables: one row per field, from which a body is checked and read, and
 * /openapi.json is written. A family of APIs is a few such tables; those that several families share are
 * linked by `more` (sampling_fields in request.h).
 *
 * A row either names the member of struct request that its value goes to (AT) or has a setter. Rows are
 * read in the order of the table, whatever the order of the body. null is as if the field were absent. */
#ifndef CORRAL_API_FIELDS_H
#define CORRAL_API_FIELDS_H

#include <jansson.h>

#include "api/family.h"
#include "base/base.h"
#include "base/buf.h"

struct api;
struct request;
struct http_str;

enum field_type {     /* and the type of the member */
    FIELD_FLAG,       /* bool */
    FIELD_REAL,       /* float, min..max */
    FIELD_INT,        /* int32_t, min..max */
    FIELD_COUNT,      /* uint32_t, min..max */
    FIELD_SECONDS,    /* int64_t, nanoseconds; min..max are seconds */
    FIELD_TEXT,       /* const char *, into the body; `choices`: one of them; max > 0: so many bytes */
    FIELD_ARRAY,      /* const json_t *, into the body; max > 0: at most so many elements */
    FIELD_OBJECT,     /* const json_t *, into the body; or `sub` */
    FIELD_ANY         /* the setter looks at the type, `schema` describes it; without setter const json_t * */
};
enum field_use {
    FIELD_USED,
    FIELD_ACCEPTED, /* what is generated cannot depend on it: user, metadata, ... */
    FIELD_IGNORED,  /* has no meaning here: named in x-corral-ignored, refused in strict mode */
    FIELD_REFUSED   /* 400, unless its value asks for nothing (null, false, 0, "", [], {} or `def`) */
};

struct parse { /* one body being read */
    const struct api *api;
    struct request *r;
    struct fault *f;
    bool strict; /* what would have no effect is refused */
};

struct field {
    const char *name;
    enum field_type type;
    double min, max;
    size_t at; /* AT(member) */
    /* Its type was checked; fills p->f if false. */
    bool (*set)(struct parse *p, const char *name, const json_t *v);
    const char *choices; /* "a|b|c" */
    const struct field_table *sub; /* FIELD_OBJECT: its members, read into the same request */
    const char *def;     /* JSON; for the document, and for FIELD_REFUSED */
    const char *schema;  /* FIELD_ANY, FIELD_ARRAY: JSON Schema members, e.g. "\"type\":\"string\"" */
    enum field_use use;
    bool required;
    const char *help;
};
#define AT(member) offsetof(struct request, member) /* never 0: the first member is not for rows */

struct field_table {
    const char *name; /* of the schema in the document: "ChatCompletionRequest" */
    const struct field *row;
    size_t n;
    const struct field_table *more; /* NULL, or rows that follow; the first of two rows of a name counts */
};

/* Read the members of object. Unknown names are ignored (and listed), or refused in strict mode. */
bool fields_read(struct parse *p, const struct field_table *t, const json_t *object);
/* The JSON object that body is; NULL and f (with line and column): it is none. The caller owns it. */
json_t *body_parse(struct http_str body, struct fault *f);
/* The table as a JSON Schema object, for the document. */
void fields_schema(const struct field_table *t, struct buf *out);

/* For setters: f is filled when they return false. */
bool field_wrong_type(struct parse *p, const char *name, const char *want); /* "'name' must be WANT" */
bool field_out_of_range(struct parse *p, const char *name, double min, double max, bool whole);
/* A name more for X-Corral-Ignored: each once, as a header can say it, and no more than a kilobyte of them. */
void ignored_add(struct buf *list, const char *name);
void field_ignored(struct parse *p, const char *name); /* name it there */
bool field_no_effect(struct parse *p, const char *name); /* the same, but refused in strict mode */
/* For setters that read an object by themselves: field_no_effect for members but those known
 * ("a|b|c"), as name.member. */
bool field_others(struct parse *p, const char *name, const json_t *object, const char *known);

#endif
