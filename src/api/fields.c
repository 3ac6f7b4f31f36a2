#include "api/fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/request.h"
#include "base/buf.h"

bool field_wrong_type(struct parse *p, const char *name, const char *want)
{
    return refuse(p->f, 400, "invalid_type", name, "'%s' must be %s", name, want);
}

bool field_out_of_range(struct parse *p, const char *name, double min, double max, bool whole)
{
    return refuse(p->f, 400, "value_out_of_range", name, "'%s' must be %s between %.10g and %.10g", name,
                  whole ? "an integer" : "a number", min, max);
}

void ignored_add(struct buf *list, const char *name)
{
    char word[68] = ", "; /* it goes into a header */
    size_t n = 2;
    for (const char *c = name; *c && c < name + 64; c++)
        word[n++] = *c > 0x20 && *c < 0x7f && *c != ',' ? *c : '_';
    const char *at = list->n ? list->data : NULL;
    while (at) {
        if (!strncmp(at, word + 2, n - 2) && (!at[n - 2] || at[n - 2] == ',')) return; /* once is enough */
        at = strchr(at, ' ');
        if (at) at++;
    }
    if (list->n <= 1024) buf_add(list, list->n ? word : word + 2, list->n ? n : n - 2);
}

void field_ignored(struct parse *p, const char *name)
{
    ignored_add(&p->r->ignored, name);
}

/* ---- one value --------------------------------------------------------------------------------------- */

static bool read_number(struct parse *p, const struct field *row, const json_t *v)
{
    double number = json_number_value(v);
    bool whole = row->type == FIELD_INT || row->type == FIELD_COUNT;
    if (!json_is_number(v) || (whole && number != floor(number))) {
        field_out_of_range(p, row->name, row->min, row->max, whole);
        p->f->reason = "invalid_type";
        return false;
    }
    if (!(number >= row->min && number <= row->max))
        return field_out_of_range(p, row->name, row->min, row->max, whole);
    if (!row->at) return true;
    void *to = (char *)p->r + row->at;
    switch (row->type) {
    case FIELD_REAL: *(float *)to = (float)number; break;
    case FIELD_INT: *(int32_t *)to = (int32_t)number; break;
    case FIELD_COUNT: *(uint32_t *)to = (uint32_t)number; break;
    default: *(int64_t *)to = (int64_t)(number * 1e9); break;
    }
    return true;
}

static bool is_choice(const char *choices, const char *s)
{
    size_t n = strlen(s);
    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (strncmp(at, s, n) == 0 && (at[n] == 0 || at[n] == '|')) return n > 0;
    return false;
}

static bool read_text(struct parse *p, const struct field *row, const json_t *v)
{
    if (!json_is_string(v)) return field_wrong_type(p, row->name, "a string");
    if (row->max > 0 && (double)json_string_length(v) > row->max)
        return refuse(p->f, 400, "value_out_of_range", row->name, "'%s' may have at most %.0f bytes",
                      row->name, row->max);
    if (row->choices && !is_choice(row->choices, json_string_value(v)))
        return refuse(p->f, 400, "invalid_value", row->name, "'%s' is '%.40s', but must be one of %s",
                      row->name, json_string_value(v), row->choices);
    if (row->at) *(const char **)((char *)p->r + row->at) = json_string_value(v);
    return true;
}

static bool read_json(struct parse *p, const struct field *row, const json_t *v)
{
    if (row->type == FIELD_OBJECT && !json_is_object(v)) return field_wrong_type(p, row->name, "an object");
    if (row->type == FIELD_ARRAY) {
        if (!json_is_array(v)) return field_wrong_type(p, row->name, "an array");
        if (row->max > 0 && (double)json_array_size(v) > row->max)
            return refuse(p->f, 400, "value_out_of_range", row->name, "'%s' may have at most %.0f elements",
                          row->name, row->max);
    }
    if (row->sub) return fields_read(p, row->sub, v);
    if (row->at) *(const json_t **)((char *)p->r + row->at) = v;
    return true;
}

static bool read_value(struct parse *p, const struct field *row, const json_t *v)
{
    bool ok = false;
    switch (row->type) {
    case FIELD_FLAG:
        ok = json_is_boolean(v) || field_wrong_type(p, row->name, "true or false");
        if (ok && row->at) *(bool *)((char *)p->r + row->at) = json_is_true(v);
        break;
    case FIELD_REAL:
    case FIELD_INT:
    case FIELD_COUNT:
    case FIELD_SECONDS: ok = read_number(p, row, v); break;
    case FIELD_TEXT: ok = read_text(p, row, v); break;
    case FIELD_ARRAY:
    case FIELD_OBJECT:
    case FIELD_ANY: ok = read_json(p, row, v); break;
    }
    return ok && (!row->set || row->set(p, row->name, v));
}

/* Does this value of a field that is not built ask for nothing? */
static bool is_neutral(const struct field *row, const json_t *v)
{
    if (json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0)) return true;
    if (json_is_string(v) && json_string_length(v) == 0) return true;
    if (json_is_array(v) && json_array_size(v) == 0) return true;
    if (json_is_object(v) && json_object_size(v) == 0) return true;
    char *text = row->def ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    bool same = text && !strcmp(text, row->def);
    free(text);
    return same;
}

bool field_no_effect(struct parse *p, const char *name)
{
    if (p->strict)
        return refuse(p->f, 400, "unsupported_parameter", name, "'%.64s' would have no effect on this server",
                      name);
    field_ignored(p, name);
    return true;
}

bool field_others(struct parse *p, const char *name, const json_t *object, const char *known)
{
    const char *member;
    json_t *v;
    char path[64];
    json_object_foreach((json_t *)object, member, v)
    {
        snprintf(path, sizeof path, "%s.%s", name, member);
        if (!json_is_null(v) && !is_choice(known, member) && !field_no_effect(p, path)) return false;
    }
    return true;
}

static bool read_row(struct parse *p, const struct field *row, const json_t *v)
{
    switch (row->use) {
    case FIELD_USED: return read_value(p, row, v);
    case FIELD_ACCEPTED: return true;
    case FIELD_IGNORED: return is_neutral(row, v) || field_no_effect(p, row->name);
    case FIELD_REFUSED:
        return is_neutral(row, v) || refuse(p->f, 400, "unsupported_parameter", row->name,
                                            "'%s' is not supported by this server%s%s", row->name,
                                            row->help ? ": " : "", row->help ? row->help : "");
    }
    return true;
}

/* ---- a body ------------------------------------------------------------------------------------------ */

static const struct field *find_row(const struct field_table *t, const char *name)
{
    for (; t; t = t->more)
        for (size_t i = 0; i < t->n; i++)
            if (!strcmp(t->row[i].name, name)) return &t->row[i];
    return NULL;
}

bool fields_read(struct parse *p, const struct field_table *t, const json_t *object)
{
    const char *name;
    json_t *v;
    for (const struct field_table *part = t; part; part = part->more) {
        for (size_t i = 0; i < part->n; i++) {
            const struct field *row = &part->row[i];
            const json_t *value = json_object_get(object, row->name);
            if (part != t && find_row(t, row->name) != row) continue; /* hidden by an earlier one */
            if (value && !json_is_null(value)) {
                if (!read_row(p, row, value)) return false;
            } else if (row->required) {
                return refuse(p->f, 400, "missing_required_parameter", row->name, "'%s' is missing",
                              row->name);
            }
        }
    }
    json_object_foreach((json_t *)object, name, v) if (!json_is_null(v) && !find_row(t, name) &&
                                                       !field_no_effect(p, name)) return false;
    return true;
}

static bool depth_ok(struct http_str s)
{
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > REQUEST_MAX_DEPTH) return false;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return true;
}

json_t *body_parse(struct http_str body, struct fault *f)
{
    json_error_t je;
    if (!depth_ok(body)) {
        refuse(f, 400, "invalid_json", NULL, "the request's JSON is nested more than %d deep",
               REQUEST_MAX_DEPTH);
        return NULL;
    }
    json_t *root = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &je);
    if (root && json_is_object(root)) return root;
    if (root)
        refuse(f, 400, "invalid_json", NULL, "the request must be a JSON object");
    else
        refuse(f, 400, "invalid_json", NULL, "the request is not valid JSON: %s (line %d, column %d)",
               je.text, je.line, je.column);
    json_decref(root);
    return NULL;
}

/* ---- the document ------------------------------------------------------------------------------------ */

static void add_choices(struct buf *out, const char *choices)
{
    buf_adds(out, ",\"enum\":[");
    for (const char *at = choices, *end; *at; at = *end ? end + 1 : end) {
        end = strchrnul(at, '|');
        if (at != choices) buf_addc(out, ',');
        buf_json_str(out, at, (size_t)(end - at));
    }
    buf_addc(out, ']');
}

static void add_members(const struct field_table *t, struct buf *out);

static void add_row(const struct field *row, struct buf *out)
{
    static const char *const type[FIELD_ANY + 1] = {
        [FIELD_FLAG] = "boolean",  [FIELD_REAL] = "number",    [FIELD_INT] = "integer",
        [FIELD_COUNT] = "integer", [FIELD_SECONDS] = "number", [FIELD_TEXT] = "string",
        [FIELD_ARRAY] = "array",   [FIELD_OBJECT] = "object"};
    size_t from = out->n;
    buf_addc(out, '{');
    if (row->sub)
        add_members(row->sub, out);
    else if (type[row->type])
        buf_addf(out, "\"type\":\"%s\"", type[row->type]);
    if (row->type <= FIELD_SECONDS && row->type != FIELD_FLAG)
        buf_addf(out, ",\"minimum\":%.10g,\"maximum\":%.10g", row->min, row->max);
    if (row->type == FIELD_TEXT && row->max > 0) buf_addf(out, ",\"maxLength\":%.0f", row->max);
    if (row->type == FIELD_ARRAY && row->max > 0) buf_addf(out, ",\"maxItems\":%.0f", row->max);
    if (row->choices) add_choices(out, row->choices);
    if (row->schema) buf_addf(out, "%s%s", out->n > from + 1 ? "," : "", row->schema);
    if (row->def) buf_addf(out, "%s\"default\":%s", out->n > from + 1 ? "," : "", row->def);
    const char *what = row->use == FIELD_IGNORED   ? "No effect here. "
                       : row->use == FIELD_REFUSED ? "Not supported. "
                                                   : "";
    if (row->help || *what) {
        struct buf text = {0};
        buf_addf(&text, "%s%s", what, row->help ? row->help : "");
        buf_adds(out, out->n > from + 1 ? ",\"description\":" : "\"description\":");
        buf_json_str(out, text.data, text.n);
        buf_deinit(&text);
    }
    buf_addc(out, '}');
}

static void add_members(const struct field_table *t, struct buf *out)
{
    struct buf required = {0};
    const char *comma = "";
    buf_adds(out, "\"type\":\"object\",\"properties\":{");
    for (const struct field_table *part = t; part; part = part->more)
        for (size_t i = 0; i < part->n; i++) {
            const struct field *row = &part->row[i];
            if (find_row(t, row->name) != row) continue;
            buf_addf(out, "%s\"%s\":", comma, row->name);
            add_row(row, out);
            comma = ",";
            if (row->required) buf_addf(&required, "%s\"%s\"", required.n ? "," : "", row->name);
        }
    buf_addc(out, '}');
    if (required.n) buf_addf(out, ",\"required\":[%s]", required.data);
    buf_deinit(&required);
}

void fields_schema(const struct field_table *t, struct buf *out)
{
    buf_addc(out, '{');
    add_members(t, out);
    buf_addc(out, '}');
}
