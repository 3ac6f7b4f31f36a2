#include "sample/strategy.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
#define RUNS(fn) .apply = fn##_apply, .is_off = fn##_is_off
const struct strategy strategy_table[N_STRATEGY] = {
    [STRATEGY_BIAS]        = {"logit_bias",  {0},                           0,   true,  KIND_FIRST, RUNS(bias)},
    [STRATEGY_PENALTIES]   = {"penalties",   {0},                           'e', true,  KIND_CHAIN, RUNS(penalties)},
    [STRATEGY_DRY]         = {"dry",         {0},                           'd', true,  KIND_CHAIN, RUNS(dry)},
    [STRATEGY_TOP_N_SIGMA] = {"top_n_sigma", {0},                           's', false, KIND_CHAIN, RUNS(top_n_sigma)},
    [STRATEGY_TOP_K]       = {"top_k",       {0},                           'k', false, KIND_CHAIN, RUNS(top_k)},
    [STRATEGY_TYPICAL]     = {"typ_p",       {"typical_p", "typical"},      'y', false, KIND_CHAIN, RUNS(typical)},
    [STRATEGY_TOP_P]       = {"top_p",       {"nucleus"},                   'p', false, KIND_CHAIN, RUNS(top_p)},
    [STRATEGY_MIN_P]       = {"min_p",       {0},                           'm', false, KIND_CHAIN, RUNS(min_p)},
    [STRATEGY_XTC]         = {"xtc",         {0},                           'x', false, KIND_CHAIN, RUNS(xtc)},
    [STRATEGY_TEMPERATURE] = {"temperature", {"temp"},                      't', false, KIND_CHAIN, RUNS(temperature)},
    [STRATEGY_GREEDY]      = {"greedy",      {0},                           0,   false, KIND_LAST,  RUNS(greedy)},
    [STRATEGY_MIROSTAT]    = {"mirostat",    {0},                           0,   false, KIND_LAST,  RUNS(mirostat)},
    [STRATEGY_ADAPTIVE]    = {"adaptive_p",  {0},                           0,   false, KIND_LAST,  RUNS(adaptive)},
    [STRATEGY_DRAW]        = {"dist",        {0},                           0,   false, KIND_LAST,  RUNS(draw)},
};
/* clang-format on */

/* "Top-K" is "top_k". */
static bool same_name(const char *name, const char *word, size_t n)
{
    if (!name || strlen(name) != n) return false;
    for (size_t i = 0; i < n; i++) {
        char c = word[i] == '-' ? '_' : (char)tolower((unsigned char)word[i]);
        if (c != name[i]) return false;
    }
    return true;
}

static int find_name(const char *word, size_t n)
{
    for (int i = 0; i < N_STRATEGY; i++) {
        const struct strategy *t = &strategy_table[i];
        if (t->kind != KIND_CHAIN) continue;
        bool same = same_name(t->name, word, n);
        for (size_t k = 0; k < COUNT_OF(t->alias); k++) same |= same_name(t->alias[k], word, n);
        if (same) return i;
    }
    return -1;
}

static int find_letter(char letter)
{
    for (int i = 0; i < N_STRATEGY; i++)
        if (letter && strategy_table[i].letter == letter) return i;
    return -1;
}

static status chain_add(struct sample_params *p, int id, const char *word, size_t n, struct error *e)
{
    if (id < 0)
        return fail(e, ERR_ARG,
                    "samplers: unknown '%.*s'; there are penalties (e), dry (d), top_n_sigma (s), top_k (k), "
                    "typ_p (y), top_p (p), min_p (m), xtc (x), temperature (t)",
                    (int)MIN(n, (size_t)40), word);
    if (p->n_chain == SAMPLE_MAX_CHAIN)
        return fail(e, ERR_ARG, "samplers: more than %d in the chain", SAMPLE_MAX_CHAIN);
    p->chain[p->n_chain++] = (uint8_t)id;
    return OK;
}

static bool is_separator(char c)
{
    return c == ';' || c == ',' || isspace((unsigned char)c);
}

/* Several words, or one that is a name: names. Else letters ("temp" is a name, though all are letters). */
status sample_chain_parse(struct sample_params *p, const char *text, struct error *e)
{
    struct sample_params new = *p;
    size_t n = strlen(text), n_word = 0;
    new.n_chain = 0;
    for (size_t i = 0; i < n; i++) n_word += !is_separator(text[i]) && (i == 0 || is_separator(text[i - 1]));
    if (n_word == 0) return fail(e, ERR_ARG, "samplers: the chain is empty");
    for (size_t i = 0; i < n;) {
        size_t len = 0;
        while (i < n && is_separator(text[i])) i++;
        while (i + len < n && !is_separator(text[i + len])) len++;
        if (len == 0) break;
        int id = find_name(text + i, len);
        if (id >= 0 || n_word > 1 || strchr(text, ';') || find_letter(text[i]) < 0)
            TRY(chain_add(&new, id, text + i, len, e));
        else
            for (size_t k = 0; k < len; k++) TRY(chain_add(&new, find_letter(text[i + k]), text + i, len, e));
        i += len;
    }
    *p = new;
    return OK;
}
