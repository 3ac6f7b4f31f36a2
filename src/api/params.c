/* Sampling parameters by name: one row each (shared/design API_SURFACE, section 2, has the peers' names and
 * ranges). A new one is a new row. */
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "api/request.h"

enum param_type { REAL, INTEGER, COUNT, FLAG };

struct param {
    const char *name;
    enum param_type type; /* of the member: float, int32_t, uint32_t, bool */
    size_t at;
    double min, max;
};

#define AT(member) offsetof(struct sample_params, member)
static const struct param params[] = {
    {"temperature", REAL, AT(temperature), 0, 2},
    {"top_p", REAL, AT(top_p), 0, 1},
    {"top_k", INTEGER, AT(top_k), -1, INT32_MAX}, /* -1, as vLLM says "off": made 0 below */
    {"min_p", REAL, AT(min_p), 0, 1},
    {"typical_p", REAL, AT(typical_p), 0, 1},
    {"top_n_sigma", REAL, AT(top_n_sigma), -1, 100},
    {"xtc_probability", REAL, AT(xtc_probability), 0, 1},
    {"xtc_threshold", REAL, AT(xtc_threshold), 0, 1},
    {"dynatemp_range", REAL, AT(dynatemp_range), 0, 100},
    {"dynatemp_exponent", REAL, AT(dynatemp_exponent), 0, 100},
    {"dry_multiplier", REAL, AT(dry_multiplier), 0, 100},
    {"dry_base", REAL, AT(dry_base), 1, 100},
    {"dry_allowed_length", INTEGER, AT(dry_allowed_length), 0, INT32_MAX},
    {"dry_penalty_last_n", INTEGER, AT(dry_penalty_last_n), -1, INT32_MAX},
    {"mirostat", INTEGER, AT(mirostat), 0, 2},
    {"mirostat_tau", REAL, AT(mirostat_tau), 0, 100},
    {"mirostat_eta", REAL, AT(mirostat_eta), 0, 1},
    {"adaptive_target", REAL, AT(adaptive_target), -1, 1},
    {"adaptive_decay", REAL, AT(adaptive_decay), 0, 0.99},
    {"frequency_penalty", REAL, AT(frequency_penalty), -2, 2},
    {"presence_penalty", REAL, AT(presence_penalty), -2, 2},
    {"repeat_penalty", REAL, AT(repeat_penalty), 0.01, 100},
    {"repetition_penalty", REAL, AT(repeat_penalty), 0.01, 100}, /* vLLM's name */
    {"repeat_last_n", INTEGER, AT(repeat_last_n), -1, INT32_MAX},
    {"min_keep", COUNT, AT(min_keep), 0, INT32_MAX},
    {"min_tokens", COUNT, AT(min_tokens), 0, INT32_MAX},
    {"ignore_eos", FLAG, AT(ignore_eos), 0, 1},
    {"post_sampling_probs", FLAG, AT(post_sampling_probs), 0, 1},
};

bool refuse(struct fault *f, int code, const char *reason, const char *param, const char *fmt, ...)
{
    va_list ap;
    *f = (struct fault){.code = code, .reason = reason};
    f->type = code == 401                  ? "authentication_error"
              : code == 403                ? "permission_error"
              : code == 429                ? "rate_limit_error"
              : code == 404                ? "not_found_error"
              : code >= 500 && code != 501 ? "server_error"
                                           : "invalid_request_error";
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    va_start(ap, fmt);
    vsnprintf(f->msg, sizeof f->msg, fmt, ap);
    va_end(ap);
    return false;
}

static enum param_found wrong(struct fault *f, const struct param *p, const char *what)
{
    if (p->type == FLAG)
        refuse(f, 400, "invalid_type", p->name, "'%s' must be true or false", p->name);
    else
        refuse(f, 400, what, p->name, "'%s' must be %s between %.10g and %.10g", p->name,
               p->type == REAL ? "a number" : "an integer", p->min, p->max);
    return PARAM_BAD;
}

enum param_found param_set(struct sample_params *out, const char *name, const json_t *v, struct fault *f)
{
    const struct param *p = NULL;
    for (size_t i = 0; i < COUNT_OF(params) && !p; i++)
        if (!strcmp(params[i].name, name)) p = &params[i];
    if (!p) return PARAM_UNKNOWN;
    if (json_is_null(v)) return PARAM_SET; /* as if it were absent */

    void *to = (char *)out + p->at;
    if (p->type == FLAG) {
        if (!json_is_boolean(v)) return wrong(f, p, "invalid_type");
        *(bool *)to = json_is_true(v);
        return PARAM_SET;
    }
    double number = json_number_value(v);
    if (!json_is_number(v) || (p->type != REAL && number != floor(number)))
        return wrong(f, p, "invalid_type");
    if (!(number >= p->min && number <= p->max)) return wrong(f, p, "value_out_of_range");
    switch (p->type) {
    case REAL: *(float *)to = (float)number; break;
    case INTEGER: *(int32_t *)to = (int32_t)number; break;
    case COUNT: *(uint32_t *)to = (uint32_t)number; break;
    case FLAG: break;
    }
    if (to == &out->top_k && out->top_k < 0) out->top_k = 0;
    return PARAM_SET;
}
