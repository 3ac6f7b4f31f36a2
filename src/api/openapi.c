/* The OpenAPI document, written from the tables that routes and requests are checked by.
 * Source: OpenAPI Specification 3.1.0. */
#include <string.h>

#include "api/api_int.h"

/* "/v1/models/{id*}" -> "/v1/models/{id}" */
static void add_path(struct buf *out, const char *path)
{
    buf_addc(out, '"');
    for (; *path; path++)
        if (*path != '*') buf_addc(out, *path);
    buf_adds(out, "\":{");
}

static void add_parameters(struct buf *out, const char *path)
{
    const char *comma = "\"parameters\":[";
    for (const char *at = path; (at = strchr(at, '{'));) {
        size_t n = strcspn(++at, "*}");
        buf_addf(out,
                 "%s{\"name\":\"%.*s\",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}}",
                 comma, (int)n, at);
        comma = ",";
    }
    if (*comma == ',') buf_adds(out, "],");
}

static void add_operation(struct buf *out, const char *tag, const struct endpoint *p)
{
    buf_addc(out, '"');
    for (const char *c = p->method; *c; c++) buf_addc(out, (char)(*c | 0x20));
    buf_addf(out, "\":{\"tags\":[\"%s\"],\"summary\":", tag);
    buf_json_str(out, p->summary ? p->summary : "", p->summary ? strlen(p->summary) : 0);
    buf_addc(out, ',');
    add_parameters(out, p->path);
    if (p->fields)
        buf_addf(out,
                 "\"requestBody\":{\"required\":true,\"content\":{\"application/json\":{\"schema\":"
                 "{\"$ref\":\"#/components/schemas/%s\"}}}},",
                 p->fields->name);
    buf_adds(out, "\"responses\":{\"200\":{\"description\":\"OK\"}");
    if (p->fields)
        buf_adds(out, ",\"400\":{\"description\":\"The message says what is wrong with which field\"}");
    if (p->role != HTTP_ROLE_ANYONE)
        buf_adds(
            out,
            ",\"401\":{\"description\":\"No API key, or an unknown one\"}},\"security\":[{\"key\":[]}]}");
    else
        buf_adds(out, "}}");
}

/* A path's operations stand together, wherever its rows are. */
static bool first_of_path(const struct endpoint *p)
{
    for (size_t i = 0; api_families[i]; i++)
        for (size_t k = 0; k < api_families[i]->n; k++)
            if (!strcmp(api_families[i]->row[k].path, p->path)) return &api_families[i]->row[k] == p;
    return true;
}

static void add_operations(struct buf *out, const char *path)
{
    const char *comma = "";
    for (size_t i = 0; api_families[i]; i++)
        for (size_t k = 0; k < api_families[i]->n; k++) {
            const struct endpoint *p = &api_families[i]->row[k];
            if (strcmp(p->path, path) != 0) continue;
            buf_adds(out, comma);
            add_operation(out, api_families[i]->name, p);
            comma = ",";
        }
}

static bool first_of_table(const struct endpoint *p)
{
    for (size_t i = 0; api_families[i]; i++)
        for (size_t k = 0; k < api_families[i]->n; k++)
            if (api_families[i]->row[k].fields == p->fields) return &api_families[i]->row[k] == p;
    return true;
}

void openapi_document(struct buf *out)
{
    const char *comma = "";
    buf_adds(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Corral\",\"version\":\"" CORRAL_VERSION
                  "\"},\"paths\":{");
    for (size_t i = 0; api_families[i]; i++)
        for (size_t k = 0; k < api_families[i]->n; k++) {
            const struct endpoint *p = &api_families[i]->row[k];
            if (!first_of_path(p)) continue;
            buf_adds(out, comma);
            add_path(out, p->path);
            add_operations(out, p->path);
            buf_addc(out, '}');
            comma = ",";
        }
    buf_adds(out, "},\"components\":{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}},"
                  "\"schemas\":{");
    comma = "";
    for (size_t i = 0; api_families[i]; i++)
        for (size_t k = 0; k < api_families[i]->n; k++) {
            const struct endpoint *p = &api_families[i]->row[k];
            if (!p->fields || !first_of_table(p)) continue;
            buf_addf(out, "%s\"%s\":", comma, p->fields->name);
            fields_schema(p->fields, out);
            comma = ",";
        }
    buf_adds(out, "}}}");
}
