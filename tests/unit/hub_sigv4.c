/* AWS's published examples of signatures: those of the S3 documentation ("Authenticating Requests: Using the
 * Authorization Header"), and some of the Signature Version 4 test suite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "hub/sigv4.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static const struct sigv4_key s3 = {"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL,
                                    "us-east-1", "s3"};
static const struct sigv4_key suite = {"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL,
                                       "us-east-1", "service"};
enum { MAY_2013 = 1369353600, AUGUST_2015 = 1440938160 };

static const char *signature_of(const struct hub_fields *f)
{
    const char *value = f->at[f->n - 1].value, *equals = strstr(value, "Signature=");
    assert_string_equal(f->at[f->n - 1].name, "Authorization");
    assert_non_null(equals);
    return equals + strlen("Signature=");
}

static void published_examples(void **state)
{
    static const struct http_header range[] = {{"Range", "bytes=0-9"}};
    static const struct http_header put[] = {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                                             {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    static const struct http_header spaces[] = {{"My-Header2", "\"a   b   c\""}, {"My-Header1", " value1 "}};
    static const struct {
        const char *name;
        const struct sigv4_key *key;
        struct sigv4_request r;
        const char *want;
    } cases[] = {
        // clang-format off
        {"GET object", &s3, {"GET", "https://examplebucket.s3.amazonaws.com/test.txt", NULL, range, 1, MAY_2013},
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {"PUT object", &s3, {"PUT", "https://examplebucket.s3.amazonaws.com/test%24file.text", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", put, 2, MAY_2013},
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
        {"lifecycle", &s3, {"GET", "https://examplebucket.s3.amazonaws.com/?lifecycle", NULL, NULL, 0, MAY_2013},
         "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {"list", &s3, {"GET", "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", NULL, NULL, 0, MAY_2013},
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
        {"list, in another order", &s3, {"GET", "https://examplebucket.s3.amazonaws.com:443?prefix=J&max-keys=2", NULL, NULL, 0, MAY_2013},
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
        {"get-vanilla", &suite, {"GET", "https://example.amazonaws.com/", NULL, NULL, 0, AUGUST_2015},
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
        {"get-vanilla-query-order-key-case", &suite, {"GET", "https://example.amazonaws.com/?Param2=value2&Param1=value1", NULL, NULL, 0, AUGUST_2015},
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
        {"get-header-value-trim", &suite, {"GET", "https://example.amazonaws.com/", NULL, spaces, 2, AUGUST_2015},
         "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
        // clang-format on
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct hub_fields f = {0};
        sigv4_sign(cases[i].key, &cases[i].r, &f);
        if (strcmp(signature_of(&f), cases[i].want) != 0)
            fail_msg("%s: %s", cases[i].name, f.at[f.n - 1].value);
        hub_fields_deinit(&f);
    }
}

/* A key of a role is signed with its session, a port that is not the usual one with the host. */
static void what_else_is_signed(void **state)
{
    struct sigv4_key role = s3;
    struct hub_fields f = {0};
    role.session = "the session";
    sigv4_sign(&role,
               &(struct sigv4_request){.method = "GET", .url = "http://127.0.0.1:9000/b/k", .now = MAY_2013},
               &f);
    assert_string_equal(f.at[2].name, "X-Amz-Security-Token");
    assert_non_null(
        strstr(f.at[3].value, "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,"));
    hub_fields_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_examples),
                                       cmocka_unit_test(what_else_is_signed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
