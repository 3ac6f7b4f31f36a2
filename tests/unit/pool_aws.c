/* Finding out where we run, against services that answer, refuse, talk nonsense, hang, or are not there. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

#include "base/clock.h"
#include "http/http.h"
#include "pool/aws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

/* --- the metadata service --- */

static struct http_server *server;
static char url[64];
static const char *instance_type; /* NULL: 404 */
static bool refuse_token;
static atomic_int n_asked;

static void token(struct http_exchange *x, void *user)
{
    const char *life = http_header(x, "X-aws-ec2-metadata-token-ttl-seconds");
    n_asked++;
    if (!life || refuse_token)
        http_reply(x, 403, "text/plain", "no", 2);
    else
        http_reply(x, 200, "text/plain", "t0ken==", 7);
}

static void reply_with(struct http_exchange *x, const char *text)
{
    const char *pass = http_header(x, "X-aws-ec2-metadata-token");
    n_asked++;
    if (!pass || strcmp(pass, "t0ken==") != 0)
        http_reply(x, 401, "text/plain", "no", 2);
    else if (!text)
        http_reply(x, 404, "text/plain", "no", 2);
    else
        http_reply(x, 200, "text/plain", text, strlen(text));
}

static void type(struct http_exchange *x, void *user)
{
    reply_with(x, instance_type);
}

static void zone(struct http_exchange *x, void *user)
{
    reply_with(x, "eu-central-1a");
}

static const struct http_route routes[] = {
    {"PUT", "/latest/api/token", token, NULL, HTTP_BODY_WHOLE, HTTP_ROLE_USER},
    {"GET", "/latest/meta-data/instance-type", type, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
    {"GET", "/latest/meta-data/placement/availability-zone", zone, NULL, HTTP_BODY_NONE, HTTP_ROLE_USER},
};

static pthread_t thread;
static void *serve(void *arg)
{
    struct error e = {0};
    if (http_server_run(arg, &e) != OK) fprintf(stderr, "run: %s\n", e.msg);
    return NULL;
}

static int start(void **state)
{
    struct error e = {0};
    const struct http_options o = {.write_timeout_ms = 10000};
    if (http_server_new(&server, &o, &e) != OK || http_server_listen(server, &e) != OK) fail_msg("%s", e.msg);
    http_server_add_routes(server, routes, COUNT_OF(routes));
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(server));
    return pthread_create(&thread, NULL, serve, server);
}

static int stop(void **state)
{
    http_server_quit(server);
    pthread_join(thread, NULL);
    http_server_free(server);
    return 0;
}

/* --- asking --- */

static atomic_int n_answer;
static void answered(void *user)
{
    n_answer++;
}

static void find_out(struct aws_facts *f, const char *at, const char *sysfs)
{
    struct aws *a;
    struct error e;
    const int before = n_answer;
    const struct aws_options o = {.url = at, .sysfs_root = sysfs, .timeout_ms = 5000, .on_answer = answered};
    if (aws_open(&a, &o, &e) != OK) fail_msg("%s", e.msg);
    for (int i = 0; i < 1500 && n_answer == before; i++) usleep(10000);
    aws_facts(a, f);
    aws_close(a);
    assert_true(f->known);
    assert_int_equal(n_answer, before + 1);
}

static void test_instance(void **state)
{
    struct aws_facts f;
    instance_type = "g5.12xlarge";
    find_out(&f, url, "/nonexistent");
    assert_true(f.on_aws);
    assert_string_equal(f.type, "g5.12xlarge");
    assert_string_equal(f.zone, "eu-central-1a");
    assert_string_equal(f.accelerator, "NVIDIA A10G, 24 GiB each");
    assert_string_equal(f.backend, "cuda");
}

static void test_no_answers(void **state)
{
    static const char *const nonsense[] = {NULL, "", "two words", "\x1b[31mred",
                                           "a-type-name-that-is-longer-than-any-of-theirs"};
    struct aws_facts f;
    for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
        instance_type = nonsense[i];
        find_out(&f, url, "/nonexistent");
        assert_false(f.on_aws);
        assert_string_equal(f.type, "");
        assert_string_equal(f.backend, "cpu");
    }
    refuse_token = true;
    instance_type = "g5.12xlarge";
    find_out(&f, url, "/nonexistent");
    assert_false(f.on_aws);
    refuse_token = false;
    find_out(&f, "http://127.0.0.1:1", "/nonexistent"); /* nobody there */
    assert_false(f.on_aws);
}

/* Where the firmware does not say Amazon, nobody is asked: no packet leaves for an address that may be
 * anybody's. */
static void test_firmware(void **state)
{
    char root[] = "/tmp/corral-aws-XXXXXX", path[128], command[160];
    struct aws_facts f;
    assert_non_null(mkdtemp(root));
    const int asked = n_asked;
    const int64_t began = clock_ns();
    find_out(&f, NULL, root);
    assert_false(f.on_aws);
    assert_int_equal(n_asked, asked);
    assert_true(clock_ns() - began < 4000000000);
    snprintf(command, sizeof command, "mkdir -p %s/class/dmi/id", root);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/class/dmi/id/sys_vendor", root);
    FILE *w = fopen(path, "w");
    assert_non_null(w);
    fputs("Amazon EC2\n", w);
    fclose(w);
    find_out(&f, "http://127.0.0.1:1", root); /* the firmware is enough to know that much */
    assert_true(f.on_aws);
    assert_string_equal(f.type, "");
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

/* A service that takes the connection and says nothing keeps nobody waiting, at the end neither. */
static void test_hanging(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    char hangs[64];
    struct aws_facts f;
    struct aws *a;
    struct error e;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    snprintf(hangs, sizeof hangs, "http://127.0.0.1:%u", ntohs(at.sin_port));
    const int64_t began = clock_ns();
    assert_int_equal(
        aws_open(&a, &(struct aws_options){.url = hangs, .sysfs_root = "/nonexistent", .timeout_ms = 60000},
                 &e),
        OK);
    aws_facts(a, &f);
    assert_false(f.known);
    assert_string_equal(f.backend, "cpu");
    usleep(200000);
    aws_close(a);
    assert_true(clock_ns() - began < 10000000000);
    close(fd);
}

static const struct {
    const char *type, *accelerator, *backend, *advice;
} types[] = {
    {"p5.48xlarge", "H100", "cuda", "70 billion"},
    {"p5en.48xlarge", "H200", "cuda", "70 billion"},
    {"p4d.24xlarge", "A100, 40", "cuda", "32 billion"},
    {"p4de.24xlarge", "A100, 80", "cuda", "70 billion"},
    {"p3.2xlarge", "V100, 16", "cpu", "7.0"},
    {"p3dn.24xlarge", "V100, 32", "cpu", "7.0"},
    {"g4dn.xlarge", "T4", "cpu", "7.5"},
    {"g4ad.xlarge", "AMD", "cpu", "AMD"},
    {"g5.xlarge", "A10G", "cuda", "32 billion"},
    {"g5g.xlarge", "T4G", "cpu", "7.5"},
    {"g6.xlarge", "L4", "cuda", "32 billion"},
    {"g6e.xlarge", "L40S", "cuda", "32 billion"},
    {"trn1.2xlarge", "Trainium", "cpu", "not supported"},
    {"trn2.48xlarge", "Trainium", "cpu", "not supported"},
    {"inf1.xlarge", "Inferentia", "cpu", "not supported"},
    {"inf2.xlarge", "Inferentia", "cpu", "not supported"},
    {"t3.micro", NULL, "cpu", "credits"},
    {"t4g.micro", NULL, "cpu", "credits"},
    {"m7i.large", NULL, "cpu", ""},
    {"c7gn.large", NULL, "cpu", "Graviton"},
    {"m6g.large", NULL, "cpu", "Graviton"},
    {"u7i-12tb.224xlarge", NULL, "cpu", ""},
    {"x", NULL, "cpu", ""},
};

static void test_types(void **state)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        struct aws_facts f = {0};
        aws_describe(types[i].type, &f);
        if (strcmp(f.backend, types[i].backend) != 0 || !strstr(f.advice, types[i].advice) ||
            (types[i].advice[0] == 0) != (f.advice[0] == 0) ||
            (f.accelerator == NULL) != (types[i].accelerator == NULL) ||
            (f.accelerator && !strstr(f.accelerator, types[i].accelerator)))
            fail_msg("%s: %s, %s, %s", types[i].type, f.accelerator ? f.accelerator : "none", f.backend,
                     f.advice);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instance), cmocka_unit_test(test_no_answers), cmocka_unit_test(test_firmware),
        cmocka_unit_test(test_hanging),  cmocka_unit_test(test_types),
    };
    return cmocka_run_group_tests_name("pool: AWS", tests, start, stop);
}
