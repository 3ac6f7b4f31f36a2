/* Large memory, locks and their limit, and nodes of memory from trees like /sys. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/numa.h"
#include "base/pages.h"

#include <cmocka.h>

/* ---- pages ------------------------------------------------------------------------------------------- */

static void pages_are_zeroed_and_given_back(void **state)
{
    static const size_t sizes[] = {0, 1, 4096, 5000, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 5 << 20};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct pages p;
        struct error e;
        assert_int_equal(pages_open(&p, sizes[i], &e), OK);
        assert_int_equal(p.n, MAX(sizes[i], (size_t)1));
        assert_int_equal((uintptr_t)p.data % 64, 0);
        for (size_t k = 0; k < sizes[i]; k++)
            if (p.data[k]) fail_msg("%zu bytes: byte %zu is %d", sizes[i], k, p.data[k]);
        memset(p.data, 1, sizes[i]);
        pages_close(&p);
        assert_null(p.data);
        pages_close(&p);
    }
    static const size_t too_much[] = {SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 60};
    for (size_t i = 0; i < COUNT_OF(too_much); i++) {
        struct pages p;
        struct error e;
        assert_int_equal(pages_open(&p, too_much[i], &e), ERR_MEMORY);
        assert_null(p.data);
    }
}

enum { NO_USER = 98, NO_LOCKS };

/* A sanitizer's mlock does nothing. */
static bool locks_work(void)
{
    struct pages p;
    struct error e;
    size_t n = 1;
    if (pages_open(&p, 1, &e) != OK) return false;
    bool work = pages_lock(&(struct span){p.data, p.n}, &n, &e) == OK && pages_locked_bytes() > 0;
    pages_close(&p);
    return work;
}

/* In a process of its own, that may lock so much and no more: 0, or the number of the check that failed. */
static int in_child(rlim_t limit, int (*check)(void))
{
    int how = -1;
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit r = {limit, limit};
        /* root may lock whatever the limit says */
        if (setrlimit(RLIMIT_MEMLOCK, &r) != 0 ||
            (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)))
            _exit(NO_USER);
        _exit(locks_work() ? check() : NO_LOCKS);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFEXITED(how) ? WEXITSTATUS(how) : -1;
}

enum { KIB = 1024, ROOM = 64 * KIB };

static int check_locks(void)
{
    struct pages p;
    struct error e;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (pages_open(&p, 1 << 20, &e) != OK) return 1;
    /* Out of order, within a page, twice, next to each other, and one apart: three pages and one. */
    struct span span[] = {{p.data + 2 * page + 1, 7}, {p.data + 10, 20},      {p.data + 10, 20},
                          {p.data + page, page},      {p.data + 9 * page, 1}, {p.data, 0}};
    size_t n = COUNT_OF(span);
    if (page != 4096) return 0;
    if (pages_locked_bytes() != 0) return 2;
    if (pages_lock(span, &n, &e) != OK) return 3;
    if (n != 2 || span[0].data != p.data || span[0].n != 3 * page) return 4;
    if (span[1].data != p.data + 9 * page || span[1].n != page) return 5;
    if (pages_locked_bytes() != 4 * page) return 6;
    pages_unlock(span, n);
    if (pages_locked_bytes() != 0) return 7;
    return 0;
}

static int check_limit(void)
{
    static const char *const says[] = {
        "0.5 MiB cannot be locked", "0.1 MiB", "RLIMIT_MEMLOCK", "ulimit -l", "LimitMEMLOCK=",
        "--ulimit memlock=-1"};
    struct pages p;
    struct error e;
    if (pages_open(&p, 1 << 20, &e) != OK) return 1;
    /* The first would fit, both do not: nothing stays locked. */
    struct span span[] = {{p.data, 16 * KIB}, {p.data + 512 * KIB, 496 * KIB}};
    size_t n = 2;
    if (pages_lock(span, &n, &e) != ERR_LIMIT) return 2;
    if (pages_locked_bytes() != 0) return 3;
    for (size_t i = 0; i < COUNT_OF(says); i++)
        if (!strstr(e.msg, says[i])) return 10 + (int)i;
    return 0;
}

static void locks_are_all_or_nothing(void **state)
{
    static const struct {
        const char *what;
        rlim_t limit;
        int (*check)(void);
    } cases[] = {{"room for four pages", ROOM, check_locks}, {"too small a limit", ROOM, check_limit}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int code = in_child(cases[i].limit, cases[i].check);
        if (code == NO_USER || code == NO_LOCKS) {
            print_message("skipped: %s\n",
                          code == NO_USER ? "no other user to be" : "mlock does nothing here");
            skip();
        }
        if (code) fail_msg("%s: check %d", cases[i].what, code);
    }
}

/* ---- nodes ------------------------------------------------------------------------------------------- */

/* What numa_look makes of a tree, as text: "0:4+m 1:4+m" is two nodes of four processors each, with memory.
 */
static void map_text(struct buf *b, const struct numa_map *map)
{
    for (uint32_t i = 0; i < map->n; i++)
        buf_addf(b, "%s%u:%d%s", i ? " " : "", map->node[i].id, CPU_COUNT(&map->node[i].cpus),
                 map->node[i].memory ? "+m" : "");
    if (!map->n) buf_adds(b, "none");
}

static void put(const char *root, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/devices/system/node/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        (void)mkdir(path, 0700);
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void nodes_are_found(void **state)
{
    static const struct {
        const char *what, *online, *memory, *cpus[4]; /* cpus: of node 0, 1, ...; NULL: no file */
        uint32_t n_allowed;                           /* processors 0 .. n - 1 */
        const char *want;
    } cases[] = {
        {"no tree", NULL, NULL, {NULL}, 8, "none"},
        {"one node", "0\n", "0\n", {"0-7\n"}, 8, "0:8+m"},
        {"two nodes", "0-1\n", "0-1\n", {"0-3\n", "4-7\n"}, 8, "0:4+m 1:4+m"},
        {"hyper-threads apart", "0-1\n", "0-1\n", {"0-3,8-11\n", "4-7,12-15\n"}, 16, "0:8+m 1:8+m"},
        {"only some processors allowed", "0-1\n", "0-1\n", {"0-3\n", "4-7\n"}, 5, "0:4+m 1:1+m"},
        {"none of a node's allowed", "0-1\n", "0-1\n", {"0-3\n", "4-7\n"}, 4, "0:4+m"},
        {"memory alone", "0,2\n", "0,2\n", {"0-3\n", NULL, "\n"}, 4, "0:4+m"},
        {"processors alone", "0-1\n", "1\n", {"0-3\n", "4-7\n"}, 8, "0:4 1:4+m"},
        {"nothing said of memory", "0-1\n", NULL, {"0\n", "1\n"}, 2, "0:1+m 1:1+m"},
        {"a hole", "0-3\n", "0-3\n", {"0\n", NULL, NULL, "1\n"}, 2, "0:1+m 3:1+m"},
        {"no list", "zero\n", "0\n", {"0\n"}, 1, "none"},
        {"backwards", "1-0\n", "0-1\n", {"0\n", "1\n"}, 2, "none"},
        {"a number too large", "0,99999999\n", "0\n", {"0\n"}, 1, "none"},
        {"no list of processors", "0-1\n", "0-1\n", {"0\n", "1-\n"}, 2, "0:1+m"},
        {"a processor that is not allowed", "0\n", "0\n", {"0,1023\n"}, 1, "0:1+m"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char root[] = "/tmp/corral-numa-XXXXXX", command[64];
        struct numa_map *map = mem_zalloc(1, sizeof *map);
        struct buf got = {0};
        cpu_set_t allowed;
        CPU_ZERO(&allowed);
        for (uint32_t k = 0; k < cases[i].n_allowed; k++) CPU_SET(k, &allowed);
        assert_non_null(mkdtemp(root));
        if (cases[i].online) put(root, "online", cases[i].online);
        if (cases[i].memory) put(root, "has_memory", cases[i].memory);
        for (int k = 0; k < 4; k++) {
            char name[32];
            snprintf(name, sizeof name, "node%d/cpulist", k);
            if (cases[i].cpus[k]) put(root, name, cases[i].cpus[k]);
        }
        numa_look(map, root, &allowed);
        map_text(&got, map);
        if (strcmp(got.data, cases[i].want) != 0)
            fail_msg("%s: '%s', want '%s'", cases[i].what, got.data, cases[i].want);
        buf_deinit(&got);
        free(map);
        snprintf(command, sizeof command, "rm -r %s", root);
        assert_int_equal(system(command), 0);
    }
}

static void threads_are_spread(void **state)
{
    static const struct {
        uint32_t n_node, n_thread;
        const char *want; /* the node of each */
    } cases[] = {
        {1, 3, "000"},      {2, 1, "0"},       {2, 2, "01"}, {2, 5, "00011"},
        {2, 8, "00001111"}, {3, 7, "0001122"}, {4, 2, "02"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct numa_map *map = mem_zalloc(1, sizeof *map);
        map->n = cases[i].n_node;
        for (uint32_t k = 0; k < map->n; k++) map->node[k].id = k;
        for (uint32_t t = 0; t < cases[i].n_thread; t++) {
            uint32_t id = numa_node_for(map, t, cases[i].n_thread)->id,
                     want = (uint32_t)(cases[i].want[t] - '0');
            if (id != want)
                fail_msg("%u nodes, thread %u of %u: node %u, want %u", cases[i].n_node, t, cases[i].n_thread,
                         id, want);
        }
        free(map);
    }
}

static void modes_have_names(void **state)
{
    static const struct {
        const char *name;
        int mode;
    } cases[] = {
        {"off", NUMA_OFF}, {"distribute", NUMA_DISTRIBUTE}, {"isolate", NUMA_ISOLATE}, {"", -1}, {"on", -1}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        enum numa_mode mode = NUMA_OFF;
        bool known = numa_mode_by_name(cases[i].name, &mode);
        if (known != (cases[i].mode >= 0) || (known && (int)mode != cases[i].mode))
            fail_msg("'%s': %d, %d", cases[i].name, known, (int)mode);
    }
    struct error e;
    assert_int_equal(numa_begin(NUMA_OFF, &e), OK);
    numa_place_thread(0, 1); /* nothing to do without it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_zeroed_and_given_back),
        cmocka_unit_test(locks_are_all_or_nothing),
        cmocka_unit_test(nodes_are_found),
        cmocka_unit_test(threads_are_spread),
        cmocka_unit_test(modes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
