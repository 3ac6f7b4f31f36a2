/* Any bytes as the body of a request, of the API that the first byte chooses: read by its table, checked, and
 * made into a prompt. It ends in a request that the engine could take, or in a fault with a status and a
 * message. */
#include <string.h>

#include <jansson.h>

#include "api/generator.h"
#include "api/openai.h"
#include "support/vocab_build.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct api api;

static void start(void)
{
    struct tokenizer *tok;
    struct chat_format *chat;
    struct error e;
    static const struct vocab_spec spec = {.model = "gpt2", .pre = "gpt-2"};
    ASSERT(vocab_make(&tok, &spec, &e) == OK);
    ASSERT(chat_format_new(&chat, tok, NULL, 0, &e) == OK);
    api.o = (struct api_options){.tok = tok, .chat = chat, .model = "demo"};
    json_object_seed(1);
}

static bool read_body(struct request *r, const struct generator *g, const char *body, size_t n,
                      struct fault *f)
{
    struct parse p = {&api, r, f, n % 2};
    g->init(r);
    r->body = body_parse((struct http_str){body, n}, f);
    return r->body && fields_read(&p, g->fields, r->body) && g->check(r, &api, f) &&
           request_encode(r, &api, f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct generator *const kinds[] = {&openai_chat_generator, &openai_text_generator,
                                                    &anthropic_generator,   &ollama_chat_generator,
                                                    &llamacpp_generator,    &ollama_generate_generator};
    struct request r;
    struct fault f = {0};
    if (!api.o.tok) start();
    if (n == 0) return 0;
    /* Bodies come NUL-terminated. */
    char *body = mem_alloc(n); /* not mem_strndup, which stops at a NUL */
    memcpy(body, data + 1, n - 1);
    body[n - 1] = 0;
    if (read_body(&r, kinds[data[0] % COUNT_OF(kinds)], body, n - 1, &f)) {
        struct error e;
        ASSERT(r.n_prompt >= 1 && r.n >= 1 && (uint64_t)r.n * r.n_prompt <= REQUEST_MAX_CHOICES);
        ASSERT(sample_params_check(&r.params, &e) == OK);
    } else {
        ASSERT(f.code >= 400 && f.code < 600 && f.msg[0]);
        for (int family = FAMILY_OPENAI; family <= FAMILY_LLAMACPP; family++) {
            struct buf out = {0};
            fault_write(&f, (enum api_family)family, &out);
            json_t *v = json_loadb(out.data, out.n, 0, NULL);
            ASSERT(v);
            json_decref(v);
            buf_deinit(&out);
        }
    }
    request_deinit(&r);
    free(body);
    return 0;
}
