/* process_limits.c - affinity, and the quota and memory of control groups (v1, v2, both mounted): those of the
 * process's group and of all above it, of which the narrowest counts. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* cpu_set_t */
#endif
#include "platform/process_limits.h"
#include "platform/linux_only.h"
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define LINE_BYTES 8192

/* ---- files ---- */

static FILE *open_below(const char *root, const char *folder, const char *name) {
    char path[2 * PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s%s/%s", root, folder, name);
    return length > 0 && (size_t)length < sizeof path ? fopen(path, "r") : NULL;
}

/* Up to two whole numbers at the start of a file; how many there are. "max" and what is negative are none. */
static int read_numbers(const char *root, const char *folder, const char *name, uint64_t numbers[2]) {
    FILE *file = open_below(root, folder, name);
    char line[128] = "", *at = line, *end;
    int count = 0;
    if (!file) return 0;
    if (!fgets(line, sizeof line, file)) line[0] = 0;
    fclose(file);
    for (; count < 2; count++, at = end) {
        at += strspn(at, " \t");
        errno = 0;
        if (*at < '0' || *at > '9') break;
        numbers[count] = strtoull(at, &end, 10);
        if (errno) break;
    }
    return count;
}

static bool read_number(const char *root, const char *folder, const char *name, uint64_t *number) {
    uint64_t numbers[2];
    if (read_numbers(root, folder, name, numbers) == 0) return false;
    *number = numbers[0];
    return true;
}

/* Kilobytes of a line of /proc/meminfo, as bytes; 0 if it has none. */
static uint64_t memory_of_machine(const char *root, const char *key) {
    FILE *file = open_below(root, "/proc", "meminfo");
    char line[256];
    uint64_t bytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0) bytes = (uint64_t)strtoull(line + strlen(key), NULL, 10) * 1024u;
    if (file) fclose(file);
    return bytes;
}

/* Of "0-3,8": 5. 0: the file does not say. */
static uint32_t processors_online(const char *root) {
    FILE *file = open_below(root, "/sys/devices/system/cpu", "online");
    char line[LINE_BYTES] = "", *at = line, *end;
    uint64_t count = 0;
    if (!file) return 0;
    if (!fgets(line, sizeof line, file)) line[0] = 0;
    fclose(file);
    while (*at >= '0' && *at <= '9') {
        uint64_t first = strtoull(at, &end, 10), last = first;
        if (*end == '-') last = strtoull(end + 1, &end, 10);
        if (last < first || last > UINT16_MAX) return 0;
        count += last - first + 1;
        at = *end == ',' ? end + 1 : end;
    }
    return (uint32_t)count;
}

/* ---- where a control group is ---- */

typedef struct control_group {
    bool unified;            /* v2 */
    char folder[PATH_BYTES]; /* of the group; empty: there is none */
    size_t mount_length;     /* of it, the hierarchy's root: the last to look at */
} control_group;

/* Whether `word` is in a list with commas. */
static bool lists(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == 0)) return true;
    return false;
}

/* The path of the group for `controller` as /proc/self/cgroup has it: a hierarchy of v1 that has the controller wins.
 */
static bool find_path(const char *root, const char *controller, control_group *group, char *path) {
    FILE *file = open_below(root, "/proc/self", "cgroup");
    char line[LINE_BYTES];
    bool found = false;
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        char *names = strchr(line, ':'), *where = names ? strchr(names + 1, ':') : NULL;
        if (!where) continue;
        *names++ = *where++ = 0;
        bool unified = names[0] == 0;
        if (strlen(where) >= PATH_BYTES || !(unified ? !found : lists(names, controller))) continue;
        group->unified = unified;
        found = true;
        snprintf(path, PATH_BYTES, "%s", where);
    }
    if (file) fclose(file);
    return found;
}

/* Fields of a line of mountinfo that matter: root of the mount, where it is, type, and options of the hierarchy. */
static bool split_mount(char *line, char *fields[4]) {
    char *rest = strstr(line, " - "), *cursor = NULL;
    if (!rest) return false;
    *rest = 0;
    int index = 0;
    for (char *word = strtok_r(line, " ", &cursor); word && index < 5; word = strtok_r(NULL, " ", &cursor), index++)
        if (index >= 3) fields[index - 3] = word;
    fields[2] = strtok_r(rest + 3, " \n", &cursor);
    (void)strtok_r(NULL, " \n", &cursor); /* the device */
    fields[3] = strtok_r(NULL, " \n", &cursor);
    return index == 5 && fields[2] && fields[3];
}

/* In a container the mount's root may be the group itself, and the path that of the host, or one above all that is
 * mounted ("/../.."): what can't be followed is looked for at the mount. */
static void set_folder(control_group *group, const char *mount_root, const char *mount, const char *path) {
    size_t length = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    bool below = strncmp(path, mount_root, length) == 0 && (path[length] == '/' || path[length] == 0);
    const char *rest = below && !strstr(path, "/..") ? path + length : "";
    group->mount_length = strlen(mount);
    if (strcmp(rest, "/") == 0) rest = "";
    int written = snprintf(group->folder, sizeof group->folder, "%s%s", mount, rest);
    if (written < 0 || (size_t)written >= sizeof group->folder) group->folder[0] = 0;
}

static void find_group(const char *root, const char *controller, control_group *group) {
    char path[PATH_BYTES], line[LINE_BYTES], *fields[4];
    *group = (control_group){.unified = false};
    if (!find_path(root, controller, group, path)) return;
    FILE *file = open_below(root, "/proc/self", "mountinfo");
    while (file && fgets(line, sizeof line, file) && !group->folder[0]) {
        if (!split_mount(line, fields)) continue;
        bool right = group->unified ? strcmp(fields[2], "cgroup2") == 0
                                    : strcmp(fields[2], "cgroup") == 0 && lists(fields[3], controller);
        if (right) set_folder(group, fields[0], fields[1], path);
    }
    if (file) fclose(file);
}

/* Moves to the group above; false at the root. */
static bool climb(control_group *group) {
    char *last = strrchr(group->folder, '/');
    if (!last || strlen(group->folder) <= group->mount_length) return false;
    *last = 0;
    return true;
}

/* ---- limits ---- */

static void narrow(uint64_t *limit, uint64_t value) {
    if (value < *limit) *limit = value;
}

/* Processors that the group's time makes up, rounded up; UINT32_MAX: no limit. */
static uint64_t read_quota(const char *root) {
    control_group group;
    uint64_t least = UINT32_MAX, pair[2];
    find_group(root, "cpu", &group);
    if (!group.folder[0]) return least;
    do {
        bool limited = group.unified ? read_numbers(root, group.folder, "cpu.max", pair) == 2
                                     : read_number(root, group.folder, "cpu.cfs_quota_us", &pair[0]) &&
                                           read_number(root, group.folder, "cpu.cfs_period_us", &pair[1]);
        if (limited && pair[0] > 0 && pair[1] > 0) narrow(&least, (pair[0] - 1) / pair[1] + 1);
    } while (climb(&group));
    return least;
}

/* Bytes that the group and those above it may have: in memory, in swap, and of v1 in both together. */
static void read_group_memory(const char *root, uint64_t *memory, uint64_t *swap, uint64_t *both) {
    static const char *const names[2][2] = {{"memory.limit_in_bytes", NULL}, {"memory.max", "memory.high"}};
    control_group group;
    uint64_t value;
    find_group(root, "memory", &group);
    if (!group.folder[0]) return;
    do {
        for (int i = 0; i < 2 && names[group.unified][i]; i++)
            if (read_number(root, group.folder, names[group.unified][i], &value)) narrow(memory, value);
        if (group.unified && read_number(root, group.folder, "memory.swap.max", &value)) narrow(swap, value);
        if (!group.unified && read_number(root, group.folder, "memory.memsw.limit_in_bytes", &value))
            narrow(both, value);
    } while (climb(&group));
}

static void read_memory(const char *root, fv_machine_limits *limits) {
    uint64_t machine = memory_of_machine(root, "MemTotal:"), swap = memory_of_machine(root, "SwapTotal:");
    uint64_t least = UINT64_MAX, both = UINT64_MAX;
    read_group_memory(root, &least, &swap, &both);
    bool grouped = least < UINT64_MAX && (machine == 0 || least < machine);
    if (grouped && both < UINT64_MAX) narrow(&swap, both > least ? both - least : 0);
    limits->memory_by = grouped ? FV_LIMIT_GROUP : FV_LIMIT_NONE;
    limits->memory_bytes = grouped ? least : machine;
    limits->swap_bytes = swap;
}

static uint32_t affinity(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t)count : 1;
}

void fv_process_limits_read(const char *root, uint32_t allowed, fv_machine_limits *limits) {
    fv_machine_limits found = {.processors = allowed ? allowed : affinity()};
    uint32_t online = processors_online(root);
    uint64_t quota = read_quota(root);
    found.processors_online = online > found.processors ? online : found.processors;
    if (found.processors < found.processors_online) found.processors_by = FV_LIMIT_AFFINITY;
    if (quota < found.processors) {
        found.processors = (uint32_t)quota;
        found.processors_by = FV_LIMIT_QUOTA;
    }
    read_memory(root, &found);
    *limits = found;
}

void fv_machine_limits_read(fv_machine_limits *limits) { fv_process_limits_read("", 0, limits); }

const char *fv_machine_limit_name(uint32_t limit) {
#define LIMIT_NAME(NAME, name) name,
    static const char *const names[] = {FV_LIMIT_LIST(LIMIT_NAME)};
#undef LIMIT_NAME
    return limit < sizeof names / sizeof names[0] ? names[limit] : NULL;
}
