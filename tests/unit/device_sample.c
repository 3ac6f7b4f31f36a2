/* Samples of fake drivers: an NVML whose cards are lines of a file, trees like /sys and /proc. Values,
 * missing fields, cards that fall off the bus, drivers that come and go, history, reports. */
#include <dirent.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "device/device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

#ifndef FAKE_NVML_LIBRARY
#define FAKE_NVML_LIBRARY ""
#endif

enum { ANSWER_MS = 10000 }; /* more than a busy machine needs */

/* --- a folder of fakes --- */

static char root[64];

static void write_at(const char *name, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void write_at(const char *name, const char *fmt, ...)
{
    char path[512], temporary[540];
    va_list ap;
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        (void)mkdir(path, 0755);
        *slash = '/';
    }
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *f = fopen(temporary, "w");
    if (!f) fail_msg("%s", temporary);
    va_start(ap, fmt);
    vfprintf(f, fmt, ap);
    va_end(ap);
    fclose(f);
    assert_int_equal(rename(temporary, path), 0); /* readers see the old or the new one */
}

static void remove_tree(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *f; d && (f = readdir(d));) {
        char inside[1024];
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, "..")) continue;
        snprintf(inside, sizeof inside, "%s/%s", path, f->d_name);
        remove_tree(inside);
    }
    if (d) closedir(d);
    (void)remove(path);
}

static void fresh_root(void)
{
    char nvml[128];
    snprintf(root, sizeof root, "/tmp/corral-device-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(nvml, sizeof nvml, "%s/nvml", root);
    setenv("FAKE_NVML", nvml, 1);
    write_at("proc/meminfo",
             "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n");
    write_at("proc/self/statm", "5000 1000 300 1 0 500 0\n");
    write_at("proc/self/cgroup", "0::/user.slice/corral\n");
    write_at("sys/class/none", "\n");
}

static struct devices *open_fakes(bool nvml, int64_t period_ms, void (*on_sample)(void *), void *user)
{
    char sys[128], proc[128];
    struct devices *d;
    struct error e;
    snprintf(sys, sizeof sys, "%s/sys", root);
    snprintf(proc, sizeof proc, "%s/proc", root);
    const struct devices_options o = {.nvml_path = nvml ? FAKE_NVML_LIBRARY : "none",
                                      .sysfs_root = sys,
                                      .proc_root = proc,
                                      .period_ms = period_ms,
                                      .on_sample = on_sample,
                                      .user = user};
    if (devices_open(&d, &o, &e) != OK) fail_msg("%s", e.msg);
    return d;
}

static const struct device_sample *next(struct devices *d)
{
    if (!devices_refresh(d, ANSWER_MS)) fail_msg("no sample");
    return devices_sample(d);
}

#define CARD_A "GPU-aaaa|NVIDIA H100|81920|1024|30|41|250500|9.0|11:300,12:500\n"
#define CARD_B "GPU-bbbb|NVIDIA L4|24576|0|0|35|-|8.9|\n"

/* --- NVML --- */

static void test_nvml_values(void **state)
{
    fresh_root();
    write_at("nvml",
             CARD_A CARD_B "GPU-cccc|Old|4096|96|-|-|-|-|-\nGPU-dddd|Windows|8192|100|5|50|1000|8.6|21:?\n");
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    const struct device_sample *s = devices_sample(d);
    const int32_t eleven[] = {11}, both[] = {11, 12}, other[] = {11, 99}, hidden[] = {21};
    bool known;
    assert_int_equal(s->n_gpu, 4);
    assert_string_equal(s->nvidia_driver, "999.99");
    assert_string_equal(s->nvml_error, "");
    const struct device_gpu *a = &s->gpu[0], *b = &s->gpu[1], *old = &s->gpu[2], *windows = &s->gpu[3];
    assert_string_equal(a->uuid, "GPU-aaaa");
    assert_string_equal(a->name, "NVIDIA H100");
    assert_string_equal(a->pci, "00000000:01:00.0");
    assert_string_equal(a->compute, "9.0");
    assert_int_equal(a->total_bytes, 81920ull << 20);
    assert_int_equal(a->used_bytes, 1024ull << 20);
    assert_int_equal(a->free_bytes, 80896ull << 20);
    assert_true(a->utilization > 29.9F && a->utilization < 30.1F);
    assert_true(a->temperature_c > 40.9F && a->temperature_c < 41.1F);
    assert_true(a->power_w > 250.4F && a->power_w < 250.6F);
    assert_int_equal(a->n_process, 2);
    assert_int_equal(device_own_bytes(a, eleven, 1, &known), 300ull << 20);
    assert_true(known);
    assert_int_equal(device_own_bytes(a, both, 2, &known), 800ull << 20);
    assert_true(known);
    assert_int_equal(device_own_bytes(a, other, 2, &known), 300ull << 20);
    assert_false(known); /* one of ours has memory here that the driver shows under another number */
    (void)device_own_bytes(windows, hidden, 1, &known);
    assert_false(known);
    assert_int_equal(device_own_bytes(b, NULL, 0, &known), 0);
    assert_true(known);
    assert_false(b->has & DEVICE_HAS_POWER);
    assert_true(b->has & DEVICE_HAS_TEMPERATURE);
    assert_int_equal(old->has, DEVICE_HAS_MEMORY); /* each field may be missing by itself */
    device_sample_release(s);

    write_at("nvml", "GPU-aaaa|NVIDIA H100|81920|2048|99|80|350000|9.0|\n" CARD_B);
    s = next(d);
    assert_int_equal(s->gpu[0].used_bytes, 2048ull << 20);
    assert_int_equal(s->n_gpu, 4); /* two are gone, and stay in the list as lost */
    assert_false(s->gpu[1].lost);
    assert_true(s->gpu[2].lost && s->gpu[3].lost);
    device_sample_release(s);
    devices_close(d);
    remove_tree(root);
}

static void test_unplugged(void **state)
{
    fresh_root();
    write_at("nvml", CARD_A CARD_B);
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    const struct device_sample *held = devices_sample(d), *s;
    write_at("nvml", CARD_A CARD_B "lost GPU-aaaa\n");
    for (int i = 0; i < 5;
         i++) { /* the library is started again now and then; the other card is there all the time */
        s = next(d);
        assert_int_equal(s->n_gpu, 2);
        assert_true(s->gpu[0].lost);
        assert_int_equal(s->gpu[0].total_bytes, 81920ull << 20); /* its last figures */
        assert_false(s->gpu[1].lost);
        device_sample_release(s);
    }
    write_at("nvml",
             CARD_B CARD_A "GPU-eeee|New|1024|0|0|0|0|8.0|\n"); /* back, in another place, with a third one */
    s = next(d);
    assert_int_equal(s->n_gpu, 3);
    assert_string_equal(s->gpu[0].uuid, "GPU-aaaa"); /* a card keeps its number */
    assert_int_equal(s->gpu[2].id, 2);
    for (uint32_t i = 0; i < 3; i++) assert_false(s->gpu[i].lost);
    device_sample_release(s);
    assert_false(held->gpu[0].lost); /* a sample that is held does not change */
    device_sample_release(held);
    devices_close(d);
    remove_tree(root);
}

static void test_driver_lost_and_found(void **state)
{
    fresh_root();
    write_at("nvml", CARD_A);
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    const struct device_sample *s;
    uint32_t n = 0;
    write_at("nvml", CARD_A "fail 9\n");
    s = next(d);
    assert_true(s->gpu[0].lost);
    assert_non_null(strstr(s->nvml_error, "driver is not loaded"));
    assert_true(s->host.total_bytes > 0);
    device_sample_release(s);
    for (int i = 0; i < 5; i++) device_sample_release(next(d));
    write_at("nvml", CARD_A);
    bool back = false;
    for (; n < 40 && !back; n++) { /* it is asked again after 1, 2, 4 ... at most 16 samples */
        s = next(d);
        back = !s->gpu[0].lost && s->nvml_error[0] == 0;
        device_sample_release(s);
    }
    assert_true(back);
    devices_close(d);
    remove_tree(root);
}

static void test_no_nvml(void **state)
{
    const char *const paths[] = {"/nonexistent/libnvidia-ml.so.1", "libm.so.6", "none", ""};
    fresh_root();
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        char proc[128], sys[128];
        struct devices *d;
        struct error e;
        snprintf(sys, sizeof sys, "%s/sys", root);
        snprintf(proc, sizeof proc, "%s/proc", root);
        const struct devices_options o = {.nvml_path = paths[i], .sysfs_root = sys, .proc_root = proc};
        assert_int_equal(devices_open(&d, &o, &e), OK);
        const struct device_sample *s = devices_sample(d);
        assert_int_equal(s->n_gpu, 0);
        assert_true(s->nvml_error[0] != 0);
        assert_int_equal(s->host.total_bytes, 16000000ull * 1024);
        device_sample_release(s);
        devices_close(d);
    }
    remove_tree(root);
}

/* A driver that hangs keeps nobody waiting. */
static void test_hanging_driver(void **state)
{
    fresh_root();
    write_at("nvml", CARD_A);
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    write_at("nvml", CARD_A "hang 1000\n");
    assert_false(devices_refresh(d, 100));
    const int64_t began = clock_ns();
    const struct device_sample *s = devices_sample(d);
    assert_true(clock_ns() - began < 500000000);
    assert_int_equal(s->number, 1);
    device_sample_release(s);
    devices_close(d);

    /* Nor at the start. */
    char sys[128], proc[128];
    struct error e;
    snprintf(sys, sizeof sys, "%s/sys", root);
    snprintf(proc, sizeof proc, "%s/proc", root);
    const struct devices_options o = {
        .nvml_path = FAKE_NVML_LIBRARY, .sysfs_root = sys, .proc_root = proc, .first_ms = -1};
    assert_int_equal(devices_open(&d, &o, &e), OK);
    s = devices_sample(d);
    assert_int_equal(s->number, 0);
    assert_int_equal(s->n_gpu, 0);
    assert_true(s->host.total_bytes > 0);
    device_sample_release(s);
    s = next(d);
    assert_int_equal(s->n_gpu, 1);
    device_sample_release(s);
    devices_close(d);
    remove_tree(root);
}

/* A card in MIG mode is its instances, each with what it has itself. */
static void test_instances(void **state)
{
    fresh_root();
    write_at("nvml", CARD_A CARD_B "mig GPU-aaaa MIG-1111|NVIDIA H100 MIG 3g.40gb|40000|512|-|-|-|-|11:300\n"
                                   "mig GPU-aaaa MIG-2222|-|10000|0|-|-|-|-|\n"
                                   "link GPU-aaaa GPU-bbbb nvlink\n");
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    const struct device_sample *s = devices_sample(d);
    assert_int_equal(s->n_gpu, 3);
    const struct device_gpu *one = &s->gpu[0], *two = &s->gpu[1], *b = &s->gpu[2];
    assert_string_equal(one->uuid, "MIG-1111");
    assert_string_equal(one->name, "NVIDIA H100 MIG 3g.40gb");
    assert_string_equal(one->parent, "GPU-aaaa");
    assert_string_equal(one->pci, "00000000:01:00.0");
    assert_string_equal(one->compute, "9.0");
    assert_int_equal(one->total_bytes, 40000ull << 20);
    assert_int_equal(one->used_bytes, 512ull << 20);
    assert_int_equal(one->n_process, 1);
    assert_int_equal(one->has,
                     DEVICE_HAS_MEMORY | DEVICE_HAS_TEMPERATURE | DEVICE_HAS_COMPUTE | DEVICE_HAS_PROCESSES);
    assert_string_equal(two->uuid, "MIG-2222");
    assert_string_equal(two->name, "NVIDIA H100 MIG");
    assert_int_equal(two->n_process, 0);
    assert_string_equal(b->uuid, "GPU-bbbb");
    assert_string_equal(b->parent, "");
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(b->link[i], DEVICE_LINK_UNKNOWN);
    device_sample_release(s);

    write_at("nvml", CARD_A CARD_B "mig GPU-aaaa\n"); /* divided anew: no instance yet */
    s = next(d);
    assert_int_equal(s->n_gpu, 3);
    assert_true(s->gpu[0].lost && s->gpu[1].lost && !s->gpu[2].lost);
    device_sample_release(s);
    write_at("nvml", CARD_A CARD_B); /* and whole again */
    s = next(d);
    assert_int_equal(s->n_gpu, 4);
    assert_string_equal(s->gpu[3].uuid, "GPU-aaaa");
    assert_false(s->gpu[3].lost);
    device_sample_release(s);
    write_at("nvml", CARD_A CARD_B "mig GPU-aaaa MIG-3333|-|10000|0|-|-|-|-|\n"); /* somebody divides it */
    s = next(d);
    assert_int_equal(s->n_gpu, 5);
    assert_true(s->gpu[3].lost && s->gpu[3].divided);
    assert_true(s->gpu[0].lost && !s->gpu[0].divided);
    assert_string_equal(s->gpu[4].parent, "GPU-aaaa");
    device_sample_release(s);
    devices_close(d);
    remove_tree(root);
}

/* Links are between the ids of our list, whatever the driver's order is. */
static void test_links(void **state)
{
#define CARD_C "GPU-cccc|NVIDIA H100|81920|0|0|35|-|9.0|\n"
#define LINKS  "link GPU-aaaa GPU-bbbb nvlink\nlink GPU-bbbb GPU-cccc 30\nlink GPU-aaaa GPU-cccc 77\n"
    static const struct {
        const char *text;
        uint8_t ab, bc, ac;
    } steps[] = {
        {CARD_A CARD_B CARD_C, DEVICE_LINK_UNKNOWN, DEVICE_LINK_UNKNOWN, DEVICE_LINK_UNKNOWN},
        {CARD_A CARD_B "lost GPU-bbbb\n", DEVICE_LINK_UNKNOWN, DEVICE_LINK_UNKNOWN, DEVICE_LINK_UNKNOWN},
        {CARD_C CARD_B CARD_A LINKS, DEVICE_LINK_NVLINK, DEVICE_LINK_BRIDGE, DEVICE_LINK_UNKNOWN},
        {CARD_B CARD_A LINKS, DEVICE_LINK_NVLINK, DEVICE_LINK_UNKNOWN, DEVICE_LINK_UNKNOWN},
    };
    fresh_root();
    write_at("nvml", "%s", steps[0].text);
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        write_at("nvml", "%s", steps[i].text);
        const struct device_sample *s = next(d);
        const struct device_gpu *g = s->gpu;
        assert_int_equal(s->n_gpu, 3);
        if (g[0].link[1] != steps[i].ab || g[1].link[2] != steps[i].bc || g[0].link[2] != steps[i].ac)
            fail_msg("step %zu: %s, %s, %s", i, device_link_name(g[0].link[1]),
                     device_link_name(g[1].link[2]), device_link_name(g[0].link[2]));
        if (!g[2].lost && !g[1].lost) assert_int_equal(g[2].link[1], steps[i].bc);
        assert_int_equal(g[1].link[0], steps[i].ab);
        device_sample_release(s);
    }
    devices_close(d);
    remove_tree(root);
}

/* --- AMD --- */

static void amd_card(int n, const char *unique, uint64_t total, uint64_t used)
{
    char at[100], name[160];
    snprintf(at, sizeof at, "sys/class/drm/card%d/device", n);
#define FILE_OF(file, ...) (snprintf(name, sizeof name, "%s/%s", at, file), write_at(name, __VA_ARGS__))
    FILE_OF("vendor", "0x1002\n");
    FILE_OF("device", "0x740f\n");
    FILE_OF("uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:%02x:00.0\n", n + 3);
    if (unique) FILE_OF("unique_id", "%s\n", unique);
    FILE_OF("mem_info_vram_total", "%llu\n", (unsigned long long)total);
    FILE_OF("mem_info_vram_used", "%llu\n", (unsigned long long)used);
#undef FILE_OF
}

static void test_amd(void **state)
{
    fresh_root();
    amd_card(1, "d1cf8ab98e0a5a31", 64ull << 30, 2ull << 30);
    amd_card(0, NULL, 32ull << 30, 0);
    write_at("sys/class/drm/card1/device/product_name", "AMD Instinct MI210\n");
    write_at("sys/class/drm/card1/device/gpu_busy_percent", "77\n");
    write_at("sys/class/drm/card1/device/mem_busy_percent", "12\n");
    write_at("sys/class/drm/card1/device/hwmon/hwmon4/temp1_input", "45000\n");
    write_at("sys/class/drm/card1/device/hwmon/hwmon4/power1_average", "123456789\n");
    write_at("sys/class/drm/card1/device/hwmon/hwmon4/power1_cap", "300000000\n");
    write_at("sys/class/drm/card2/device/vendor", "0x8086\n"); /* somebody else's */
    write_at("sys/class/drm/card1-HDMI-A-1/status", "connected\n");
    write_at("sys/class/kfd/kfd/topology/nodes/0/gpu_id", "0\n"); /* the processor */
    write_at("sys/class/kfd/kfd/topology/nodes/1/gpu_id", "4711\n");
    write_at("sys/class/kfd/kfd/topology/nodes/1/properties",
             "simd_count 416\ngfx_target_version 90010\nlocation_id 1024\n"
             "domain 0\nunique_id %llu\n",
             0xd1cf8ab98e0a5a31ull);
    write_at("sys/class/kfd/kfd/topology/nodes/2/gpu_id", "4712\n"); /* known by where it is plugged in */
    write_at("sys/class/kfd/kfd/topology/nodes/2/properties",
             "gfx_target_version 110000\nlocation_id 768\ndomain 0\n");
    write_at("sys/class/kfd/kfd/proc/901/vram_4711", "%llu\n", 512ull << 20);
    write_at("sys/class/kfd/kfd/proc/902/vram_4711", "0\n");
    write_at("sys/class/kfd/kfd/proc/902/vram_4712", "4096\n");
    struct devices *d = open_fakes(false, 3600000, NULL, NULL);
    const struct device_sample *s = devices_sample(d);
    const int32_t pid[] = {901};
    bool known;
    assert_int_equal(s->n_gpu, 2);
    const struct device_gpu *plain = &s->gpu[0], *mi = &s->gpu[1];
    assert_string_equal(mi->name, "AMD Instinct MI210");
    assert_string_equal(mi->uuid, "GPU-d1cf8ab98e0a5a31");
    assert_string_equal(mi->pci, "0000:04:00.0");
    assert_string_equal(mi->compute, "gfx90a");
    assert_int_equal(mi->vendor, DEVICE_AMD);
    assert_int_equal(mi->free_bytes, 62ull << 30);
    assert_true(mi->utilization > 76.9F && mi->utilization < 77.1F);
    assert_true(mi->temperature_c > 44.9F && mi->temperature_c < 45.1F);
    assert_true(mi->power_w > 123.4F && mi->power_w < 123.5F);
    assert_true(mi->power_limit_w > 299 && mi->power_limit_w < 301);
    assert_int_equal(device_own_bytes(mi, pid, 1, &known), 512ull << 20);
    assert_true(known);
    assert_int_equal(mi->n_process, 1);
    assert_string_equal(plain->name, "AMD GPU 740f");
    assert_string_equal(plain->uuid, "PCI-0000:03:00.0");
    assert_string_equal(plain->compute, "gfx1100");
    assert_int_equal(plain->n_process, 1);
    assert_false(plain->has & (DEVICE_HAS_UTILIZATION | DEVICE_HAS_TEMPERATURE | DEVICE_HAS_POWER));
    device_sample_release(s);

    char card[128];
    snprintf(card, sizeof card, "%s/sys/class/drm/card0", root);
    remove_tree(card);
    s = next(d);
    assert_int_equal(s->n_gpu, 2);
    assert_true(s->gpu[0].lost);
    assert_false(s->gpu[1].lost);
    device_sample_release(s);
    devices_close(d);
    remove_tree(root);
}

/* --- the host --- */

static const struct {
    const char *name, *group; /* /proc/self/cgroup */
    struct {
        const char *file, *text;
    } file[8];
    uint64_t total, available, limit;
} hosts[] = {
    {"no group", "0::/\n", {{NULL, NULL}}, 16384000000, 8192000000, 0},
    {"no limit", "0::/a\n", {{"fs/cgroup/a/memory.max", "max\n"}}, 16384000000, 8192000000, 0},
    {"version 2, files in the cache can go",
     "0::/a/b\n",
     {{"fs/cgroup/a/b/memory.max", "4000000000\n"},
      {"fs/cgroup/a/b/memory.current", "3000000000\n"},
      {"fs/cgroup/a/b/memory.stat", "anon 1500000000\ninactive_file 1000000000\nactive_file 500000000\n"}},
     4000000000,
     2500000000,
     4000000000},
    {"the limit is one level up",
     "0::/a/b\n",
     {{"fs/cgroup/a/memory.max", "4000000000\n"}, {"fs/cgroup/a/memory.current", "1000000000\n"}},
     4000000000,
     3000000000,
     4000000000},
    {"in a container: what is mounted at the root",
     "0::/docker/abc\n",
     {{"fs/cgroup/memory.max", "2000000000\n"}, {"fs/cgroup/memory.current", "500000000\n"}},
     2000000000,
     1500000000,
     2000000000},
    {"a limit above what there is",
     "0::/a\n",
     {{"fs/cgroup/a/memory.max", "99000000000\n"}},
     16384000000,
     8192000000,
     0},
    {"more is allowed than is free",
     "0::/a\n",
     {{"fs/cgroup/a/memory.max", "15000000000\n"}, {"fs/cgroup/a/memory.current", "1000000000\n"}},
     15000000000,
     8192000000,
     15000000000},
    {"version 1",
     "11:memory:/job\n0::/\n",
     {{"fs/cgroup/memory/job/memory.limit_in_bytes", "3000000000\n"},
      {"fs/cgroup/memory/job/memory.usage_in_bytes", "1000000000\n"},
      {"fs/cgroup/memory/job/memory.stat", "total_inactive_file 200000000\n"}},
     3000000000,
     2200000000,
     3000000000},
    {"version 1 without a limit",
     "11:memory:/job\n",
     {{"fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n"}},
     16384000000,
     8192000000,
     0},
};

static void test_host(void **state)
{
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        char name[200];
        fresh_root();
        write_at("proc/self/cgroup", "%s", hosts[i].group);
        write_at(
            "proc/77/status",
            "Name:\tcorral\nVmRSS:\t9000 kB\nRssAnon:\t 4000 kB\nRssFile:\t 4900 kB\nRssShmem:\t 100 kB\n");
        for (size_t k = 0; hosts[i].file[k].file; k++) {
            snprintf(name, sizeof name, "sys/%s", hosts[i].file[k].file);
            write_at(name, "%s", hosts[i].file[k].text);
        }
        struct devices *d = open_fakes(false, 3600000, NULL, NULL);
        const struct device_sample *s = devices_sample(d);
        if (s->host.total_bytes != hosts[i].total || s->host.available_bytes != hosts[i].available ||
            s->host.limit_bytes != hosts[i].limit)
            fail_msg("%s: total %llu, available %llu, limit %llu", hosts[i].name,
                     (unsigned long long)s->host.total_bytes, (unsigned long long)s->host.available_bytes,
                     (unsigned long long)s->host.limit_bytes);
        assert_int_equal(s->host.own_bytes, 1000 * (uint64_t)sysconf(_SC_PAGESIZE));
        assert_int_equal(devices_process_bytes(d, 77), 4100 * 1024);
        assert_int_equal(devices_process_bytes(d, 78), 0);
        device_sample_release(s);
        devices_close(d);
        remove_tree(root);
    }
}

/* --- warnings --- */

static void test_crowded(void **state)
{
    static const struct {
        uint32_t used;
        bool crowded;
    } steps[] = {{700, false}, {799, false}, {800, true},  {790, true},
                 {760, true},  {740, false}, {790, false}, {900, true}};
    fresh_root();
    write_at("nvml", CARD_A);
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(steps); i++) { /* over 80 %, until it is under 75 % again */
        write_at("nvml", "GPU-aaaa|NVIDIA H100|1000|%u|0|0|0|9.0|\n", steps[i].used);
        const struct device_sample *s = next(d);
        if (s->gpu[0].crowded != steps[i].crowded) fail_msg("step %zu", i);
        device_sample_release(s);
    }
    devices_close(d);
    remove_tree(root);
}

/* --- reports --- */

static json_t *parse(struct buf *b)
{
    json_error_t why;
    json_t *doc = json_loadb(b->data, b->n, JSON_REJECT_DUPLICATES, &why);
    if (!doc) fail_msg("%s in %s", why.text, b->data);
    buf_reset(b);
    return doc;
}

static double real(const json_t *of, const char *key)
{
    const json_t *v = json_object_get(of, key);
    if (!json_is_number(v)) fail_msg("%s is no number", key);
    return json_number_value(v);
}

static void test_reports(void **state)
{
    static const char *const models[] = {"llama3:8b", "qwen\"2"};
    const struct device_use use[] = {
        {.model = models, .n_model = 2, .has_ledger = true, .committed_bytes = 7, .reserved_bytes = 3 << 20},
        {0}};
    struct buf b = {0};
    fresh_root();
    write_at("nvml", CARD_A CARD_B "lost GPU-bbbb\n");
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    write_at("nvml", CARD_A CARD_B "link GPU-aaaa GPU-bbbb 20\n");
    device_sample_release(next(d));
    const struct device_sample *s = next(d);
    device_pool_json(&b, s, use, "single-gpu-preferred", clock_ns());
    json_t *pool = parse(&b);
    const json_t *list = json_object_get(pool, "gpu_list"), *a = json_array_get(list, 0),
                 *l4 = json_array_get(list, 1);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal((int)real(pool, "total_gpus"), 2);
    assert_int_equal((int)real(pool, "available_gpus"), 2);
    assert_true(real(pool, "total_vram") > 103.9 && real(pool, "total_vram") < 104.1);
    assert_true(json_is_true(json_object_get(pool, "gpu_available")));
    assert_string_equal(json_string_value(json_object_get(pool, "allocation_strategy")),
                        "single-gpu-preferred");
    /* The requirement's entity */
    assert_int_equal((int)real(a, "id"), 0);
    assert_string_equal(json_string_value(json_object_get(a, "name")), "NVIDIA H100");
    assert_true(real(a, "total_memory") > 79.9 && real(a, "total_memory") < 80.1);
    assert_true(real(a, "free_memory") > 78.9 && real(a, "free_memory") < 79.1);
    assert_true(real(a, "used_memory") > 0.9 && real(a, "used_memory") < 1.1);
    assert_true(real(a, "utilization") > 29 && real(a, "utilization") < 31);
    assert_true(real(a, "temperature") > 40 && real(a, "power_usage") > 250);
    assert_string_equal(json_string_value(json_object_get(a, "compute_capability")), "9.0");
    assert_string_equal(json_string_value(json_array_get(json_object_get(a, "assigned_models"), 1)),
                        "qwen\"2");
    assert_string_equal(json_string_value(json_object_get(a, "state")), "assigned");
    assert_int_equal((int)real(a, "committed_bytes"), 7);
    assert_int_equal(json_array_size(json_object_get(a, "processes")), 2);
    assert_true(real(a, "total_bytes") > 8e10);
    assert_true(real(a, "sample_age_ms") < 10000);
    assert_true(json_is_null(json_object_get(l4, "power_usage"))); /* not told is null */
    assert_true(json_is_null(json_object_get(l4, "instance_of")));
    const json_t *link = json_array_get(json_object_get(l4, "links"), 0);
    assert_int_equal((int)real(link, "id"), 0);
    assert_string_equal(json_string_value(json_object_get(link, "type")), "pcie-switches");
    assert_string_equal(json_string_value(json_object_get(l4, "state")), "available");
    json_decref(pool);
    device_metrics_json(&b, &s->gpu[0], &use[0]);
    json_t *m = parse(&b);
    assert_int_equal((int)real(m, "gpu_index"), 0);
    assert_int_equal((int)real(m, "memory_allocated_mb"), 1024);
    assert_int_equal((int)real(m, "memory_reserved_mb"), 3);
    assert_int_equal((int)real(m, "memory_total_mb"), 81920);
    assert_int_equal((int)real(m, "utilization_percent"), 30);
    assert_int_equal((int)real(m, "temperature_c"), 41);
    json_decref(m);
    device_host_json(&b, &s->host);
    json_t *h = parse(&b);
    assert_true(real(h, "total_bytes") > real(h, "available_bytes"));
    json_decref(h);
    device_metrics_text(&b, s);
    assert_non_null(strstr(
        b.data,
        "corral_gpu_memory_used_bytes{gpu=\"0\",uuid=\"GPU-aaaa\",name=\"NVIDIA H100\"} 1073741824\n"));
    assert_non_null(strstr(b.data, "# TYPE corral_gpu_up gauge\n"));
    assert_null(strstr(b.data, "corral_gpu_power_watts{gpu=\"1\"")); /* not told: no series */
    device_sample_release(s);
    buf_deinit(&b);
    devices_close(d);
    remove_tree(root);
}

static void test_history(void **state)
{
    struct buf b = {0};
    fresh_root();
    write_at("nvml", CARD_A);
    struct devices *d = open_fakes(true, 3600000, NULL, NULL);
    for (int i = 1; i <= 4; i++) {
        write_at("nvml", "GPU-aaaa|NVIDIA H100|1000|%d|%d|50|-|9.0|\n", 100 * i, 10 * i);
        device_sample_release(next(d));
    }
    devices_history_json(d, &b, 3600, 3600); /* all in one step */
    json_t *doc = parse(&b);
    assert_int_equal(json_array_size(doc), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(doc, 0), "uuid")), "host");
    const json_t *points = json_object_get(json_array_get(doc, 1), "points"), *p = json_array_get(points, 0);
    assert_int_equal(json_array_size(points), 1);
    assert_true(real(p, "memory_used_mb") > 404 &&
                real(p, "memory_used_mb") < 406); /* 1024, 100, 200, 300, 400 */
    assert_int_equal((int)real(p, "memory_used_mb_most"), 1024);
    assert_int_equal((int)real(p, "utilization_percent"), 26);
    assert_true(real(p, "power_w") > 250); /* of the one time that it was told */
    json_decref(doc);
    devices_history_json(d, &b, 0, 0); /* nonsense is put right */
    json_decref(parse(&b));
    buf_deinit(&b);
    devices_close(d);
    remove_tree(root);
}

/* --- many readers --- */

static _Atomic int n_samples;
static void count_sample(void *user)
{
    n_samples++;
}

static void *read_on(void *user)
{
    struct devices *d = user;
    uint64_t last = 0, *sum = mem_zalloc(1, sizeof *sum);
    for (int i = 0; i < 2000; i++) {
        const struct device_sample *s = devices_sample(d);
        if (s->number < last) fail_msg("samples go backwards");
        last = s->number;
        for (uint32_t k = 0; k < s->n_gpu; k++) *sum += s->gpu[k].used_bytes;
        device_sample_release(s);
        if (i % 200 == 0) (void)devices_refresh(d, ANSWER_MS);
    }
    return sum;
}

static void test_readers(void **state)
{
    pthread_t thread[4];
    struct buf b = {0};
    fresh_root();
    write_at("nvml", CARD_A CARD_B);
    struct devices *d = open_fakes(true, 2, count_sample, NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&thread[i], NULL, read_on, d), 0);
    for (int i = 0; i < 50; i++) {
        devices_history_json(d, &b, 3600, 1);
        buf_reset(&b);
    }
    for (int i = 0; i < 4; i++) {
        void *sum;
        pthread_join(thread[i], &sum);
        assert_true(*(uint64_t *)sum > 0);
        free(sum);
    }
    buf_deinit(&b);
    devices_close(d);
    assert_true(n_samples > 5);
    remove_tree(root);
}

int main(void)
{
    log_set_level(LOG_ERROR); /* what is provoked here is no news */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvml_values),
        cmocka_unit_test(test_unplugged),
        cmocka_unit_test(test_driver_lost_and_found),
        cmocka_unit_test(test_no_nvml),
        cmocka_unit_test(test_hanging_driver),
        cmocka_unit_test(test_instances),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_amd),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_crowded),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_readers),
    };
    return cmocka_run_group_tests_name("devices", tests, NULL, NULL);
}
