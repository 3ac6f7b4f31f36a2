/* --devices: what it says, and what is no such list. */
#include <string.h>

#include "cli/devices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static void lists_are_read(void **state)
{
    static const struct {
        const char *text;
        uint32_t n;
        struct backend_share last;
    } good[] = {
        {"cpu", 1, {&backend_cpu, 0, 0}},
        {"cuda:3", 1, {&backend_cuda, 3, 0}},
        {"cuda:0=20,cuda:1=12", 2, {&backend_cuda, 1, 12}},
        {"cuda:0=20,cpu", 2, {&backend_cpu, 0, 0}},
        {"sim:0=1,sim:1=2,cpu=3", 3, {&backend_cpu, 0, 3}},
        {"ref=16384", 1, {&backend_ref, 0, 16384}},
        {"cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cuda:1023=7",
         16,
         {&backend_cuda, 1023, 7}},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct backend_share s[BACKEND_MAX_SHARES];
        struct error e = {0};
        uint32_t n;
        if (devices_parse(s, &n, good[i].text, &e) != OK) fail_msg("%s: %s", good[i].text, e.msg);
        const struct backend_share *last = &s[n - 1], *want = &good[i].last;
        if (n != good[i].n || last->api != want->api || last->device != want->device ||
            last->n_layer != want->n_layer)
            fail_msg("%s: %u entries, the last %s:%d=%u", good[i].text, n, last->api->name, last->device,
                     last->n_layer);
    }
}

static void others_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
        status code;
    } bad[] = {
        {"", "is no BACKEND[:NUMBER][=LAYERS]", ERR_ARG},
        {",cpu", "is no BACKEND", ERR_ARG},
        {"cpu,", "is no BACKEND", ERR_ARG},
        {"cuda:0,,cpu", "is no BACKEND", ERR_ARG},
        {":0=3", "is no BACKEND", ERR_ARG},
        {"=3", "is no BACKEND", ERR_ARG},
        {"gpu:0", "no backend named gpu (known: auto, cpu", ERR_NOT_FOUND},
        {"split", "no backend named split", ERR_NOT_FOUND},
        {" cpu", "no backend named  cpu", ERR_NOT_FOUND},
        {"cuda:", "'cuda:': after ':' comes the number of a device", ERR_ARG},
        {"cuda:x", "after ':' comes", ERR_ARG},
        {"cuda:-1", "after ':' comes", ERR_ARG},
        {"cuda:1024", "0 to 1023", ERR_ARG},
        {"cuda:99999999999999999999", "0 to 1023", ERR_ARG},
        {"cpu:1", "'cpu:1': cpu is one device", ERR_ARG},
        {"cuda:0=", "after '=' comes a number of layers", ERR_ARG},
        {"cuda:0=0", "at least 1", ERR_ARG},
        {"cuda:0=-3", "at least 1", ERR_ARG},
        {"cuda:0=16385", "number of layers", ERR_ARG},
        {"cuda:0=3x", "'cuda:0=3x' is no", ERR_ARG},
        {"cuda:0 =3", "'cuda:0 =3' is no", ERR_ARG},
        {"cuda=1=2", "is no", ERR_ARG},
        {"auto=3", "", OK},
        {"cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu,cpu", "16 devices at most",
         ERR_ARG},
        {"cudacudacudacudacudacudacudacudacudacudacudacudacudacudacudacuda", "is no BACKEND", ERR_ARG},
        {"a2345678901234567890123456789012:1", "is no BACKEND", ERR_ARG},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct backend_share s[BACKEND_MAX_SHARES];
        struct error e = {0};
        uint32_t n;
        status st = devices_parse(s, &n, bad[i].text, &e);
        if (st != bad[i].code || !strstr(e.msg, bad[i].says))
            fail_msg("'%s': %d, \"%s\" does not say \"%s\"", bad[i].text, st, e.msg, bad[i].says);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lists_are_read),
                                       cmocka_unit_test(others_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
