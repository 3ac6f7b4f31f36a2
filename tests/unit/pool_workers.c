/* Workers' lives: loaded on demand, crashed, stuck, stopped, started anew. They are played by a small
 * program. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>

#include "support/pool_play.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static struct play y;

static int begin(void **state)
{
    if (!play_program()) return 0;
    struct pool_options o = play_options(&y);
    play_start(&y, &o);
    return 0;
}

static int end(void **state)
{
    if (play_program()) play_end(&y);
    return 0;
}

#define NEEDS_PLAYER                                                                                         \
    if (!play_program()) {                                                                                   \
        printf("skipped: CORRAL_FAKE_WORKER does not name the program that plays workers\n");                \
        skip();                                                                                              \
    }

/* ---- one request ------------------------------------------------------------------------------------- */

static void loads_on_demand(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "one", "ready=200", "{\"context\": 512, \"keep_alive\": \"1h\"}");
    struct pool_ticket *t = play_enter(&y, "One:latest"), *u;
    assert_int_equal(pool_poll(t, &r, &f), POOL_WAIT);
    assert_non_null(strstr(r.text, "one"));
    double most = -1;
    enum pool_answer a;
    for (int64_t end_ns = clock_ns() + 30000000000; (a = pool_poll(t, &r, &f)) == POOL_WAIT; usleep(3000)) {
        most = r.progress > most ? r.progress : most;
        assert_true(clock_ns() < end_ns);
    }
    assert_int_equal(a, POOL_READY);
    assert_true(most > 0.1 && most < 1); /* it saw how far loading was */
    assert_int_equal(access(r.unix_path, F_OK), 0);
    assert_string_equal(r.model, "one");
    assert_non_null(strstr(r.options, "512"));
    assert_false(r.remote);
    u = play_enter(&y, NULL); /* the default, and it is there already */
    assert_int_equal(pool_poll(u, &r, &f), POOL_READY);
    struct pool_model_view m = play_model(&y, "one");
    assert_int_equal(m.state, POOL_RUNNING);
    assert_int_equal(m.n_running, 2);
    assert_int_equal(m.context, 128);
    play_leave(t);
    play_leave(u);
    assert_int_equal(play_model(&y, "one").n_running, 0);
    assert_int_equal(play_model(&y, "one").loads, 1);
}

static void knows_no_such_model(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f = {0};
    struct pool_ticket *t = play_enter(&y, "nobody");
    assert_int_equal(pool_poll(t, &r, &f), POOL_REFUSED);
    assert_int_equal(f.code, 404);
    assert_non_null(strstr(f.msg, "nobody"));
    play_leave(t);
}

static void who_waits_may_go(void **state)
{
    NEEDS_PLAYER
    struct pool_ticket *t;
    play_add(&y, "slow", "ready=300", NULL);
    for (int i = 0; i < 20; i++) {
        t = play_enter(&y, "slow");
        pool_leave(t, &(struct pool_outcome){.failed = POOL_FAILED_CLIENT});
    }
    assert_int_equal(play_model(&y, "slow").n_waiting, 0);
    assert_true(play_until(&y, "slow", POOL_RUNNING, 20000)); /* loading goes on: the next one will be glad */
}

/* ---- failures ---------------------------------------------------------------------------------------- */

static void failures(void **state)
{
    NEEDS_PLAYER
    static const struct {
        const char *name, *script;
        int code;
        const char *says;
        unsigned crashes;
    } row[] = {{"refused", "refuse", 500, "that is no model", 1}, /* it would be the same again */
               {"crashes", "crash", 503, "last words", 3},
               {"missing", "die=1,ready=10", 503, "signal 9", 6}}; /* dies when it has just become ready */
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct pool_route r;
        struct pool_fault f = {0};
        play_add(&y, row[i].name, row[i].script, NULL);
        struct pool_ticket *t;
        enum pool_answer a;
        for (int tries = 0;; tries++) { /* one that is ready for a moment lets requests in */
            t = play_enter(&y, row[i].name);
            a = play_wait(t, 20000, &r, &f);
            if (a == POOL_REFUSED || tries > 100) break;
            pool_leave(t, &(struct pool_outcome){.failed = POOL_FAILED_CUT});
            usleep(20000);
        }
        if (a != POOL_REFUSED || f.code != row[i].code || !strstr(f.msg, row[i].says))
            fail_msg("%s: answer %d, %d '%s'", row[i].name, a, f.code, f.msg);
        assert_true(f.retry_after_s > 0);
        assert_non_null(strstr(f.msg, row[i].name));
        assert_int_equal(play_model(&y, row[i].name).crashes, row[i].crashes);
        play_leave(t);
        t = play_enter(&y, row[i].name); /* refused at once, without another try */
        assert_int_equal(pool_poll(t, &r, &f), POOL_REFUSED);
        play_leave(t);
    }
}

static void once(const char *name, const char *what, char *script, size_t cap)
{
    snprintf(script, cap, "%s,once=%s/%s", what, y.home, name);
}

static void comes_back(void **state)
{
    NEEDS_PLAYER
    static const struct {
        const char *name, *what;
    } row[] = {{"crashed", "crash"}, {"died", "die=50"}, {"stuck", "stuck"}, {"sick", "sick"}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        char script[256];
        struct pool_route r;
        struct pool_fault f = {0};
        once(row[i].name, row[i].what, script, sizeof script);
        play_add(&y, row[i].name, script, NULL);
        struct pool_ticket *t = play_enter(&y, row[i].name);
        assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
        uint64_t was = r.worker;
        for (int tries = 0; i && r.worker == was && tries < 7;
             tries++) { /* its worker will fail: as the proxy does */
            for (int k = 0; k < 3000 && play_model(&y, row[i].name).crashes == 0; k++) usleep(2000);
            pool_again(t, &(struct pool_outcome){.failed = POOL_FAILED_CUT});
            assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
        }
        if (i && r.worker == was) fail_msg("%s: the same worker again", row[i].name);
        for (int k = 0; k < 2000 && play_model(&y, row[i].name).crashes == 0; k++) usleep(2000);
        if (play_model(&y, row[i].name).crashes != 1)
            fail_msg("%s: %d crashes", row[i].name, (int)play_model(&y, row[i].name).crashes);
        play_leave(t);
    }
    assert_int_equal(play_counts(&y).hangs, 2);
}

/* It neither answers nor dies of SIGTERM. */
static void a_stopped_one_is_noticed(void **state)
{
    NEEDS_PLAYER
    struct play z;
    struct pool_options o = play_options(&z);
    struct pool_route r;
    struct pool_fault f;
    char script[256];
    o.hang_ms = 1500;
    play_start(&z, &o);
    snprintf(script, sizeof script, "stop=30,once=%s/once", z.home);
    play_add(&z, "m", script, NULL);
    struct pool_ticket *t = play_enter(&z, "m");
    assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    uint64_t was = r.worker;
    for (int i = 0; i < 7 && r.worker == was; i++) {
        for (int k = 0; k < 10000 && play_counts(&z).hangs == 0; k++) usleep(2000);
        pool_again(t, &(struct pool_outcome){.failed = POOL_FAILED_TIMEOUT});
        assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    }
    assert_int_not_equal(r.worker, was);
    for (int k = 0; k < 10000 && play_model(&z, "m").crashes == 0; k++) usleep(2000);
    assert_true(play_model(&z, "m").crashes >= 1); /* the old one was killed */
    play_leave(t);
    play_end(&z);
}

static void repeating_ends(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f = {0};
    play_add(&y, "bad", "ready=0", NULL);
    struct pool_ticket *t = play_enter(&y, "bad");
    int n = 0;
    while (play_wait(t, 20000, &r, &f) == POOL_READY && n < 100) {
        pool_again(t, &(struct pool_outcome){.failed = POOL_FAILED_TIMEOUT});
        n++;
    }
    assert_int_equal(f.code, 502);
    assert_int_equal(n, 8);
    play_leave(t);
}

static void signal_worker(const char *model, enum pool_state state, int number)
{
    struct pool_view *v = pool_view_new(y.pool);
    for (size_t i = 0; i < v->n_worker; i++)
        if (!strcmp(v->worker[i].model, model) && v->worker[i].state == state) kill(v->worker[i].pid, number);
    pool_view_free(v);
}

/* Of those that a worker had when it died it had begun with the first two, as many as it runs at once. */
static void those_in_a_queue_are_innocent(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    struct pool_ticket *t[6];
    play_add(&y, "queue", "ready=0", NULL);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        t[i] = play_enter(&y, "queue");
        assert_int_equal(play_wait(t[i], 20000, &r, &f), POOL_READY);
    }
    play_leave(t[0]);                              /* answered: the third one's turn has come */
    signal_worker("queue", POOL_RUNNING, SIGSTOP); /* it says no more that it lives */
    for (size_t i = 1; i < COUNT_OF(t); i++) {
        bool may_be = pool_again(t[i], &(struct pool_outcome){.failed = POOL_FAILED_CUT});
        if (may_be != (i <= 2)) fail_msg("the %zu. of them: %d", i, may_be);
    }
    signal_worker("queue", POOL_RUNNING, SIGKILL);
    for (size_t i = 1; i < COUNT_OF(t); i++) { /* who could not even connect is nobody's reason */
        assert_int_equal(play_wait(t[i], 20000, &r, &f), POOL_READY);
        assert_false(pool_again(t[i], &(struct pool_outcome){.failed = POOL_FAILED_REFUSED}));
        assert_int_equal(play_wait(t[i], 20000, &r, &f), POOL_READY);
        play_leave(t[i]);
    }
}

/* What two workers may have died of is tried before the others: the second as soon as the first gets on or is
 * gone, and the rest behind both. */
static void suspects_are_tried_alone(void **state)
{
    NEEDS_PLAYER
    enum { SUSPECTS = 2, ALL = 4 };
    static const struct pool_outcome cut = {.failed = POOL_FAILED_CUT};
    struct pool_route r;
    struct pool_fault f;
    struct pool_ticket *t[ALL];
    play_add(&y, "alone", "ready=0", NULL);
    for (int gets_on = 0; gets_on < 2; gets_on++) {
        for (int i = 0; i < SUSPECTS; i++) t[i] = play_enter(&y, "alone");
        for (int deaths = 0; deaths < 2; deaths++) {
            for (int i = 0; i < SUSPECTS; i++) assert_int_equal(play_wait(t[i], 20000, &r, &f), POOL_READY);
            uint64_t was = play_model(&y, "alone").crashes;
            signal_worker("alone", POOL_RUNNING, SIGKILL);
            for (int i = 0; i < SUSPECTS; i++) assert_true(pool_again(t[i], &cut));
            for (int n = 0; n < 10000 && play_model(&y, "alone").crashes == was; n++) usleep(2000);
        }
        for (int i = SUSPECTS; i < ALL; i++) t[i] = play_enter(&y, "alone");
        for (int one = SUSPECTS - 1; one >= 0; one--) { /* who came back last is the first */
            assert_int_equal(play_wait(t[one], 20000, &r, &f), POOL_READY);
            for (int i = 0; i < one; i++) assert_int_equal(play_wait(t[i], 50, &r, &f), POOL_WAIT);
            for (int i = SUSPECTS; i < ALL; i++) assert_int_equal(play_wait(t[i], 50, &r, &f), POOL_WAIT);
            if (gets_on)
                pool_moved(t[one]);
            else
                play_leave(t[one]);
        }
        for (int i = SUSPECTS; i < ALL; i++) {
            assert_int_equal(play_wait(t[i], 1000, &r, &f), POOL_READY);
            play_leave(t[i]);
        }
        for (int i = 0; gets_on && i < SUSPECTS; i++) play_leave(t[i]);
    }
}

/* A worker that is killed while it loads counts as a load that failed, and one that served does not. */
static void loads_and_crashes_are_two_things(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "mixed", "ready=200", NULL);
    for (int i = 0; i < 4; i++) { /* ready, killed; loading, killed: never three loads in a row */
        struct pool_ticket *t = play_enter(&y, "mixed");
        assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
        play_leave(t);
        for (int k = 0; k < 2; k++) {
            enum pool_state want = k ? POOL_LOADING : POOL_RUNNING;
            assert_true(play_until(&y, "mixed", want, 20000));
            signal_worker("mixed", want, SIGKILL);
            uint64_t was = (uint64_t)(2 * i + k);
            for (int n = 0; n < 10000 && play_model(&y, "mixed").crashes <= was; n++) usleep(2000);
        }
    }
    assert_int_equal(play_model(&y, "mixed").crashes, 8);
    assert_int_not_equal(play_model(&y, "mixed").state, POOL_FAILED);
}

/* What one worker does not know another of the same model may, each once. */
static void asked_one_after_the_other(void **state)
{
    NEEDS_PLAYER
    static const struct pool_outcome unknown = {.status = 404, .first_us = 100};
    struct pool_route r;
    struct pool_fault f;
    uint64_t seen[3];
    play_add(&y, "three", "ready=0", "{\"replicas\": 3}");
    struct pool_ticket *t = play_enter(&y, "three"), *other;
    for (int k = 0; k < 10000 && play_model(&y, "three").n_ready < 3; k++) usleep(2000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
        seen[i] = r.worker;
        for (int k = 0; k < i; k++) assert_int_not_equal(seen[k], r.worker);
        assert_int_equal(pool_elsewhere(t, &unknown), i < 2);
    }
    assert_int_equal(pool_poll(t, &r, &f),
                     POOL_READY); /* nothing has changed: the last answer is the answer */
    other = play_enter(&y, "three");
    assert_int_equal(play_wait(other, 20000, &r, &f), POOL_READY);
    play_leave(other);
    play_leave(t);
}

/* ---- unloading --------------------------------------------------------------------------------------- */

static void unloads(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    struct error e;
    play_add(&y, "brief", "ready=0", "{\"keep_alive\": 0}");
    play_add(&y, "stays", "ready=0,stubborn", NULL);
    struct pool_ticket *t = play_enter(&y, "brief"), *u = play_enter(&y, "stays");
    assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    usleep(50000);
    assert_int_equal(play_model(&y, "brief").state, POOL_RUNNING); /* while it is used */
    play_leave(t);
    assert_true(play_until(&y, "brief", POOL_COLD, 20000));
    assert_int_equal(play_counts(&y).expirations, 1);

    assert_int_equal(play_wait(u, 20000, &r, &f), POOL_READY);
    char socket[128];
    snprintf(socket, sizeof socket, "%s", r.unix_path);
    int64_t from = clock_ns();
    assert_int_equal(pool_unload(y.pool, "stays", &e), OK);
    assert_true(play_until(&y, "stays", POOL_DRAINING, 20000));
    assert_true(play_until(&y, "stays", POOL_COLD, 20000)); /* its request had its time, then it was killed */
    assert_true(clock_ns() - from > 450 * 1000000LL);
    assert_int_not_equal(access(socket, F_OK), 0);
    play_leave(u);
    assert_int_equal(pool_unload(y.pool, "nobody", &e), ERR_NOT_FOUND);
}

static void reloads_beside(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    struct error e;
    play_add(&y, "swap", "ready=150", "{\"replicas\": 2}");
    struct pool_ticket *t = play_enter(&y, "swap");
    assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    for (int i = 0; i < 10000 && play_model(&y, "swap").n_ready < 2; i++) usleep(2000);
    assert_int_equal(r.generation, 1);
    play_leave(t);
    assert_int_equal(pool_reload(y.pool, "swap", &e), OK);
    unsigned seen = 0;
    for (int64_t until = clock_ns() + 30000000000; seen != 2 && clock_ns() < until; usleep(2000)) {
        t = play_enter(&y, "swap");
        assert_int_equal(pool_poll(t, &r, &f), POOL_READY); /* at every moment */
        assert_true(play_model(&y, "swap").n_ready >= 2);
        seen = r.generation;
        play_leave(t);
        struct pool_view *v = pool_view_new(y.pool);
        for (size_t i = 0; i < v->n_worker; i++)
            if (!strcmp(v->worker[i].model, "swap") && v->worker[i].generation == 1) seen = 1;
        pool_view_free(v);
    }
    assert_int_equal(seen, 2);
    assert_int_equal(play_model(&y, "swap").crashes, 0);
}

/* ---- limits ------------------------------------------------------------------------------------------ */

static void waits_for_its_turn(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "narrow", "ready=0", "{\"concurrency\": 2}");
    struct pool_ticket *t[4];
    for (int i = 0; i < 4; i++) t[i] = play_enter(&y, "narrow");
    assert_int_equal(play_wait(t[1], 20000, &r, &f), POOL_READY);
    assert_int_equal(pool_poll(t[2], &r, &f), POOL_WAIT);
    play_leave(t[0]);
    assert_int_equal(pool_poll(t[2], &r, &f), POOL_READY); /* in the order in which they came */
    assert_int_equal(pool_poll(t[3], &r, &f), POOL_WAIT);
    for (int i = 1; i < 4; i++) play_leave(t[i]);
}

static void bounds_those_who_wait(void **state)
{
    NEEDS_PLAYER
    struct play z;
    struct pool_options o = play_options(&z);
    struct pool_route r;
    struct pool_fault f;
    o.max_waiting = 3;
    o.max_per_key = 2;
    play_start(&z, &o);
    play_add(&z, "m", "ready=300", NULL);
    struct pool_ticket *t[8];
    for (int i = 0; i < 8; i++) t[i] = play_enter(&z, "m");
    assert_int_equal(pool_poll(t[2], &r, &f), POOL_WAIT);
    assert_int_equal(pool_poll(t[3], &r, &f), POOL_REFUSED);
    assert_int_equal(f.code, 429);
    assert_true(f.retry_after_s > 0);
    for (int i = 0; i < 8; i++) play_leave(t[i]);
    const struct pool_want w = {.model = "m", .key = "secret", .keep_alive_s = POOL_KEEP_UNSET};
    for (int i = 0; i < 3; i++) t[i] = pool_enter(z.pool, &w, NULL);
    assert_int_not_equal(pool_poll(t[1], &r, &f), POOL_REFUSED);
    assert_int_equal(pool_poll(t[2], &r, &f), POOL_REFUSED);
    assert_int_equal(f.code, 429);
    for (int i = 0; i < 3; i++) play_leave(t[i]);
    play_end(&z);
}

/* ---- ways elsewhere ---------------------------------------------------------------------------------- */

static void falls_back(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "broken", "refuse", "{\"fallbacks\": [\"nobody\", \"sound\"]}");
    play_add(&y, "sound", "ready=0", NULL);
    for (int i = 0; i < 2; i++) { /* who waited when it failed, and who comes later */
        struct pool_ticket *t = play_enter(&y, "broken");
        assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
        assert_string_equal(r.model, "sound");
        play_leave(t);
    }
}

/* Two models that lean on each other: nobody goes round and round. */
static void falls_back_once(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "ping", "refuse", "{\"fallbacks\": [\"pong\"]}");
    play_add(&y, "pong", "refuse", "{\"fallbacks\": [\"ping\"]}");
    for (int i = 0; i < 4; i++) {
        struct pool_ticket *t = play_enter(&y, i % 2 ? "ping" : "pong");
        assert_int_equal(play_wait(t, 20000, &r, &f), POOL_REFUSED);
        play_leave(t);
    }
}

/* Many requests from many threads while workers are killed: each is answered or refused, none is forgotten.
 */
enum { N_STORM = 8, N_EACH = 150 };
static atomic_int n_served, n_refused, n_lost;

static void *storm_thread(void *arg)
{
    static const char *const name[] = {"s0", "s1", "s2"};
    for (int i = 0; i < N_EACH; i++) {
        struct pool_route r;
        struct pool_fault f;
        struct pool_ticket *t = play_enter(&y, name[(i + (int)(intptr_t)arg) % 3]);
        enum pool_answer a = play_wait(t, 20000, &r, &f);
        if (a == POOL_READY && i % 7 == 0) {
            pool_again(t, &(struct pool_outcome){.failed = POOL_FAILED_CUT});
            a = play_wait(t, 20000, &r, &f);
        }
        atomic_fetch_add(a == POOL_READY ? &n_served : a == POOL_REFUSED ? &n_refused : &n_lost, 1);
        pool_leave(t, &(struct pool_outcome){.status = a == POOL_READY ? 200 : 0, .first_us = 100});
    }
    return NULL;
}

static void kill_one(unsigned at)
{
    struct pool_view *v = pool_view_new(y.pool);
    const struct pool_worker_view *w = v->n_worker ? &v->worker[at % v->n_worker] : NULL;
    if (w && w->pid && w->model[0] == 's' && strlen(w->model) == 2 && w->state == POOL_RUNNING)
        kill(w->pid, SIGKILL);
    pool_view_free(v);
}

static void storm(void **state)
{
    NEEDS_PLAYER
    pthread_t thread[N_STORM];
    struct error e;
    play_add(&y, "s0", "ready=10", "{\"replicas\": 2}");
    play_add(&y, "s1", "ready=0", "{\"concurrency\": 2}");
    play_add(&y, "s2", "ready=20", "{\"replicas\": 3, \"concurrency\": 1}");
    for (int i = 0; i < N_STORM; i++) pthread_create(&thread[i], NULL, storm_thread, (void *)(intptr_t)i);
    for (unsigned i = 0; i < 60 && atomic_load(&n_served) + atomic_load(&n_refused) < N_STORM * N_EACH; i++) {
        kill_one(i * 7919);
        if (i % 20 == 10) assert_int_equal(pool_reload(y.pool, "s0", &e), OK);
        usleep(20000);
    }
    for (int i = 0; i < N_STORM; i++) pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&n_lost), 0);
    assert_int_equal(atomic_load(&n_served) + atomic_load(&n_refused), N_STORM * N_EACH);
    assert_true(atomic_load(&n_served) > N_STORM * N_EACH / 2);
    for (int i = 0; i < 3; i++) {
        char name[3] = {'s', (char)('0' + i), 0};
        struct pool_model_view m = play_model(&y, name);
        assert_int_equal(m.n_running + m.n_waiting, 0);
    }
}

static void splits(void **state)
{
    NEEDS_PLAYER
    struct pool_route r;
    struct pool_fault f;
    play_add(&y, "left", "ready=0", NULL);
    play_add(&y, "right", "ready=0", NULL);
    play_add(&y, "both", "", "{\"split\": {\"left\": 3, \"right\": 1}}");
    int n_left = 0, n = 200;
    for (int i = 0; i < n; i++) {
        const struct pool_want w = {
            .model = "both", .session = (uint64_t)i + 1, .keep_alive_s = POOL_KEEP_UNSET};
        char first[32] = "";
        for (int twice = 0; twice < 2; twice++) {
            struct pool_ticket *t = pool_enter(y.pool, &w, NULL);
            assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
            if (twice) assert_string_equal(r.model, first); /* a conversation stays where it was */
            snprintf(first, sizeof first, "%s", r.model);
            play_leave(t);
        }
        n_left += !strcmp(first, "left");
    }
    assert_in_range(n_left, n * 3 / 4 - 30, n * 3 / 4 + 30);
}

/* ---- servers elsewhere ------------------------------------------------------------------------------- */

static struct http_server *elsewhere;
static atomic_int n_asked, n_with_key;

static void answer_health(struct http_exchange *x, void *user)
{
    const char *key = http_header(x, "Authorization");
    atomic_fetch_add(&n_asked, 1);
    if (key && !strcmp(key, "Bearer sesame")) atomic_fetch_add(&n_with_key, 1);
    http_reply(x, 404, "text/plain", "no such thing\n", 14); /* not every server has it */
}

static void *serve_elsewhere(void *unused)
{
    struct error e;
    if (http_server_run(elsewhere, &e) != OK) abort();
    return NULL;
}

static void start_elsewhere(pthread_t *thread, uint16_t port)
{
    static const struct http_route route[] = {
        {"GET", "/health", answer_health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE}};
    const struct http_options o = {.port = port};
    struct error e;
    if (http_server_new(&elsewhere, &o, &e) != OK) abort();
    http_server_add_routes(elsewhere, route, 1);
    if (http_server_listen(elsewhere, &e) != OK) abort();
    pthread_create(thread, NULL, serve_elsewhere, NULL);
}

static void stop_elsewhere(pthread_t thread)
{
    http_server_quit(elsewhere);
    pthread_join(thread, NULL);
    http_server_free(elsewhere);
}

static void serves_from_elsewhere(void **state)
{
    NEEDS_PLAYER
    pthread_t thread;
    char options[128];
    struct pool_route r;
    struct pool_fault f = {0};
    start_elsewhere(&thread, 0);
    uint16_t port = http_server_port(elsewhere);
    snprintf(options, sizeof options,
             "{\"upstreams\": [\"http://127.0.0.1:%u\"], \"upstream_key\": \"sesame\"}", port);
    play_add(&y, "away", "", options);
    struct pool_ticket *t = play_enter(&y, "away");
    assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    assert_true(r.remote);
    assert_null(r.unix_path);
    assert_non_null(strstr(r.url, "http://127.0.0.1:"));
    assert_string_equal(r.api_key, "sesame");
    play_leave(t);
    for (int i = 0; i < 10000 && atomic_load(&n_asked) < 2; i++) usleep(2000);
    assert_true(atomic_load(&n_asked) >= 2 && atomic_load(&n_with_key) == atomic_load(&n_asked));

    stop_elsewhere(thread); /* now nobody is there */
    enum pool_answer a = POOL_READY;
    for (int i = 0; i < 300 && a == POOL_READY; i++) {
        t = play_enter(&y, "away");
        a = play_wait(t, 20000, &r, &f);
        pool_leave(t, &(struct pool_outcome){.failed = POOL_FAILED_REFUSED});
        usleep(5000);
    }
    assert_int_equal(a, POOL_REFUSED);
    assert_int_equal(f.code, 503);

    start_elsewhere(&thread, port);
    for (int i = 0; i < 600 && a != POOL_READY;
         i++) { /* seen by asking; and by those few that are let through */
        t = play_enter(&y, "away");
        a = play_wait(t, 20000, &r, &f);
        play_leave(t);
        usleep(5000);
    }
    assert_int_equal(a, POOL_READY);
    stop_elsewhere(thread);
}

static void stops_in_time(void **state)
{
    NEEDS_PLAYER
    struct play z;
    struct pool_options o = play_options(&z);
    struct pool_route r;
    struct pool_fault f;
    play_start(&z, &o);
    play_add(&z, "m", "ready=0", NULL);
    play_add(&z, "late", "ready=5000", NULL);
    struct pool_ticket *t = play_enter(&z, "m"), *u = play_enter(&z, "late");
    assert_int_equal(play_wait(t, 20000, &r, &f), POOL_READY);
    int64_t from = clock_ns();
    pool_stop(z.pool, 300);
    assert_in_range(clock_ns() - from, 250 * 1000000LL, 3000 * 1000000LL);
    assert_int_equal(pool_poll(u, &r, &f), POOL_REFUSED);
    assert_int_equal(f.code, 503);
    play_leave(t);
    play_leave(u);
    play_end(&z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_on_demand),
        cmocka_unit_test(knows_no_such_model),
        cmocka_unit_test(who_waits_may_go),
        cmocka_unit_test(failures),
        cmocka_unit_test(comes_back),
        cmocka_unit_test(a_stopped_one_is_noticed),
        cmocka_unit_test(repeating_ends),
        cmocka_unit_test(those_in_a_queue_are_innocent),
        cmocka_unit_test(suspects_are_tried_alone),
        cmocka_unit_test(loads_and_crashes_are_two_things),
        cmocka_unit_test(asked_one_after_the_other),
        cmocka_unit_test(unloads),
        cmocka_unit_test(reloads_beside),
        cmocka_unit_test(waits_for_its_turn),
        cmocka_unit_test(bounds_those_who_wait),
        cmocka_unit_test(falls_back),
        cmocka_unit_test(falls_back_once),
        cmocka_unit_test(storm),
        cmocka_unit_test(splits),
        cmocka_unit_test(serves_from_elsewhere),
        cmocka_unit_test(stops_in_time),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
