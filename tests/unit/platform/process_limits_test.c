/* process_limits_test.c - what a process may use, from trees of files as containers, services and plain machines have
 * them. */
#include "platform/process_limits.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define V1_MOUNTS \
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n" \
    "32 31 0:29 %s /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" \
    "35 31 0:32 %s /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
#define V2_MOUNTS \
    "24 23 0:22 / /proc rw - proc proc rw\n30 23 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"

static char root[] = "/tmp/fovea_limits_XXXXXX";

/* A file below the root, with its folders. */
static void put(const char *path, const char *text) {
    char full[512];
    int length = snprintf(full, sizeof full, "%s%s", root, path);
    assert_true(length > 0 && (size_t)length < sizeof full);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(full, 0700);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0 && fclose(file) == 0);
}

static void put_mounts(const char *format, const char *mount_root) {
    char text[2048];
    snprintf(text, sizeof text, format, mount_root, mount_root);
    put("/proc/self/mountinfo", text);
}

static int remove_root(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", root);
    return system(command);
}

static int make_root(void **state) {
    (void)state;
    memcpy(root, "/tmp/fovea_limits_XXXXXX", sizeof root);
    if (!mkdtemp(root)) return -1;
    put("/sys/devices/system/cpu/online", "0-61,70,72\n");
    put("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\nSwapTotal:       1048576 kB\n");
    return 0;
}

static void expect_threads(uint32_t allowed, uint32_t processors, fv_machine_limit by) {
    fv_machine_limits limits;
    fv_process_limits_read(root, allowed, &limits);
    assert_int_equal(limits.processors, processors);
    assert_int_equal(limits.processors_online, 64);
    assert_int_equal(limits.processors_by, by);
}

static void expect_bytes(uint64_t mib, uint64_t swap_mib, fv_machine_limit by) {
    fv_machine_limits limits;
    fv_process_limits_read(root, 64, &limits);
    assert_int_equal(limits.memory_bytes, mib * MIB);
    assert_int_equal(limits.swap_bytes, swap_mib * MIB);
    assert_int_equal(limits.memory_by, by);
}

static void without_groups_the_machine_and_affinity_count(void **state) {
    (void)state;
    expect_threads(64, 64, FV_LIMIT_NONE);
    expect_threads(3, 3, FV_LIMIT_AFFINITY);
    expect_bytes(8192, 1024, FV_LIMIT_NONE);
    fv_machine_limits limits;
    fv_process_limits_read("/nonexistent", 2, &limits);
    assert_int_equal(limits.processors, 2);
    assert_int_equal(limits.processors_online, 2);
    assert_int_equal(limits.memory_bytes, 0);
}

/* A service of systemd: its own group says nothing, the slice above it does. */
static void of_nested_groups_the_narrowest_counts(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/a.slice/b.service\n");
    put_mounts(V2_MOUNTS, "/");
    put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    expect_threads(64, 64, FV_LIMIT_NONE);
    expect_bytes(8192, 1024, FV_LIMIT_NONE);
    put("/sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/a.slice/memory.max", "4294967296\n");
    expect_threads(64, 2, FV_LIMIT_QUOTA);
    expect_bytes(4096, 1024, FV_LIMIT_GROUP);
    put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "50000 100000\n");
    put("/sys/fs/cgroup/a.slice/b.service/memory.high", "1073741824\n");
    put("/sys/fs/cgroup/a.slice/b.service/memory.swap.max", "0\n");
    expect_threads(64, 1, FV_LIMIT_QUOTA);
    expect_threads(1, 1, FV_LIMIT_AFFINITY);
    expect_bytes(1024, 0, FV_LIMIT_GROUP);
}

/* A container sees its own group as the root, or the host's path where only its group is mounted. */
static void a_container_of_v2(void **state) {
    (void)state;
    put("/proc/self/cgroup", "0::/\n");
    put_mounts(V2_MOUNTS, "/");
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("/sys/fs/cgroup/memory.max", "536870912\n");
    expect_threads(64, 2, FV_LIMIT_QUOTA);
    expect_bytes(512, 1024, FV_LIMIT_GROUP);
    put("/proc/self/cgroup", "0::/../other\n");
    expect_threads(64, 2, FV_LIMIT_QUOTA);
    put("/proc/self/cgroup", "0::/system.slice/docker-1.scope\n");
    put_mounts(V2_MOUNTS, "/system.slice/docker-1.scope");
    expect_threads(64, 2, FV_LIMIT_QUOTA);
    put_mounts(V2_MOUNTS, "/system.slice/docker-2.scope");
    expect_bytes(512, 1024, FV_LIMIT_GROUP);
}

static void a_container_of_v1(void **state) {
    (void)state;
    put("/proc/self/cgroup",
        "12:memory:/docker/1/x\n4:cpu,cpuacct:/docker/1/x\n1:name=systemd:/docker/1\n0::/docker/1\n");
    put_mounts(V1_MOUNTS, "/docker/1");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    expect_threads(64, 64, FV_LIMIT_NONE);
    expect_bytes(8192, 1024, FV_LIMIT_NONE);
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "268435456\n");
    put("/sys/fs/cgroup/memory/x/memory.memsw.limit_in_bytes", "402653184\n");
    expect_threads(64, 3, FV_LIMIT_QUOTA);
    expect_bytes(256, 128, FV_LIMIT_GROUP);
}

static void what_is_no_limit_limits_nothing(void **state) {
    (void)state;
    put("/proc/self/cgroup", "nonsense\n0:\n0::/a\n");
    put("/proc/self/mountinfo", "short line\n - \n30 23 0:26 / /sys/fs/cgroup\n1 2 3 4 5 6 - x\n"
                                "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put("/sys/fs/cgroup/a/cpu.max", "100000\n");
    put("/sys/fs/cgroup/a/memory.max", "lots\n");
    put("/sys/fs/cgroup/cpu.max", "0 0\n");
    expect_threads(64, 64, FV_LIMIT_NONE);
    expect_bytes(8192, 1024, FV_LIMIT_NONE);
}

static void names(void **state) {
    fv_machine_limits limits;
    (void)state;
    assert_string_equal(fv_machine_limit_name(FV_LIMIT_QUOTA), "quota");
    assert_string_equal(fv_machine_limit_name(FV_LIMIT_GROUP), "control group");
    assert_null(fv_machine_limit_name(FV_LIMIT_COUNT));
    fv_machine_limits_read(&limits);
    assert_true(limits.processors >= 1 && limits.processors <= limits.processors_online);
    assert_true(limits.memory_bytes <= fv_machine_memory_bytes());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_groups_the_machine_and_affinity_count, make_root, remove_root),
        cmocka_unit_test_setup_teardown(of_nested_groups_the_narrowest_counts, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_container_of_v2, make_root, remove_root),
        cmocka_unit_test_setup_teardown(a_container_of_v1, make_root, remove_root),
        cmocka_unit_test_setup_teardown(what_is_no_limit_limits_nothing, make_root, remove_root),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
