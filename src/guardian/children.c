#include "guardian/children.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "guardian/guardian.h"
#include "net/proc.h"
#include "net/program_tag.h"

enum {
    SWEEP_TIMEOUT_MS = 500, /* it holds the guardian up; normally it takes one or two */
    CLEAR_TIMEOUT_MS = 5000,
};

/* The file is a mapping that both writers and readers see; it need not survive the machine, for the
 * processes in it do not either. */
struct record {
    _Atomic int32_t process_group; /* 0: free */
    uint64_t start_time;
    uint64_t tag;
};

struct file {
    char magic[8];
    char boot_id[40];
    struct record records[GUARDIAN_CHILDREN_MAX];
};

static const char magic[8] = "mkchild2";

struct children {
    struct guardian_page *page;
    int wake_fd;
    int fd; /* locked for as long as the node lives */
    struct file *file;
};

static enum err open_file(const char *data_dir, int flags, int *fd, char path[4096])
{
    snprintf(path, 4096, "%s/" CHILDREN_FILE, data_dir);
    *fd = open(path, flags | O_CLOEXEC, 0600);
    return *fd < 0 ? err_from_errno(errno) : ERR_OK;
}

/* Of this process alone: what it forks does not hold it. */
static bool lock(int fd, short type)
{
    struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &whole) == 0;
}

/* The table, empty. A file of an earlier node keeps its blocks: given back, they might be taken by
 * others, and on a full disk there would be no others for us. */
static struct file *map_empty(int fd, int *failed)
{
    *failed = ftruncate(fd, sizeof(struct file)) == 0 ? 0 : errno;
    *failed = *failed != 0 ? *failed : posix_fallocate(fd, 0, sizeof(struct file));
    if (*failed != 0) {
        return NULL;
    }
    void *memory = mmap(NULL, sizeof(struct file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        *failed = errno;
        return NULL;
    }
    return memset(memory, 0, sizeof(struct file));
}

enum err children_open(struct guardian_page *page, int wake_fd, const char *data_dir,
                       struct children **out, struct why *why)
{
    int fd;
    char path[4096];
    enum err e = open_file(data_dir, O_RDWR | O_CREAT, &fd, path);
    if (e != ERR_OK) {
        return err_why(why, e, "cannot open %s: %s", path, strerror(errno));
    }
    if (!lock(fd, F_WRLCK)) {
        close(fd);
        return err_why(why, ERR_LOCKED, "%s is in use by another process", path);
    }
    int failed;
    struct file *file = map_empty(fd, &failed);
    if (file == NULL) {
        close(fd);
        return err_why(why, err_from_errno(failed), "cannot map %s: %s", path, strerror(failed));
    }
    struct children *c = NEW(struct children);
    c->page = page;
    c->wake_fd = wake_fd;
    c->fd = fd;
    c->file = file;
    process_boot_id(c->file->boot_id);
    memcpy(c->file->magic, magic, sizeof magic);
    *out = c;
    return ERR_OK;
}

void children_close(struct children *c)
{
    if (c != NULL) {
        munmap(c->file, sizeof *c->file);
        close(c->fd);
        free(c);
    }
}

enum err children_add(struct children *c, const struct guardian_entry *entry, uint32_t *slot)
{
    uint64_t start_time = process_start_time(entry->process_group);
    if (entry->process_group <= 1 || start_time == 0) {
        return ERR_NOT_FOUND;
    }
    for (uint32_t i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        struct guardian_child *child = &c->page->children[i];
        struct record *record = &c->file->records[i];
        /* The guardian empties a slot of the page by itself; the record says that it is still ours.
         */
        if (atomic_load(&child->process_group) != 0 || atomic_load(&record->process_group) != 0) {
            continue;
        }
        record->start_time = child->start_time = start_time;
        record->tag = child->tag = entry->tag;
        atomic_store(&child->deadline_us, entry->deadline_us);
        atomic_store(&record->process_group, entry->process_group);
        atomic_store(&child->process_group, entry->process_group);
        *slot = i;
        guardian_wake(c->wake_fd);
        return ERR_OK;
    }
    return ERR_BUSY;
}

void children_set_deadline(struct children *c, uint32_t slot, uint64_t deadline_us)
{
    ASSERT(slot < GUARDIAN_CHILDREN_MAX);
    uint64_t before = atomic_exchange(&c->page->children[slot].deadline_us, deadline_us);
    if (deadline_us < before) { /* the guardian finds out about a later one by itself */
        guardian_wake(c->wake_fd);
    }
}

void children_remove(struct children *c, uint32_t slot)
{
    ASSERT(slot < GUARDIAN_CHILDREN_MAX);
    atomic_store(&c->page->children[slot].process_group, 0);
    atomic_store(&c->file->records[slot].process_group, 0);
}

/* ---- the guardian's side -------------------------------------------------------------------- */

uint64_t children_deadline_us(const struct guardian_page *page)
{
    uint64_t earliest = UINT64_MAX;
    for (int i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        if (atomic_load(&page->children[i].process_group) != 0) {
            uint64_t deadline = atomic_load(&page->children[i].deadline_us);
            earliest = deadline < earliest ? deadline : earliest;
        }
    }
    return earliest;
}

/* Kill the groups whose deadline is not after now_us; whose they were. */
static size_t kill_groups(struct guardian_page *page, uint64_t now_us,
                          struct program killed[GUARDIAN_CHILDREN_MAX])
{
    size_t count = 0;
    for (int i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        struct guardian_child *child = &page->children[i];
        int32_t group = atomic_load(&child->process_group);
        uint64_t start_time = child->start_time, tag = child->tag;
        if (group == 0 || atomic_load(&child->deadline_us) > now_us) {
            continue;
        }
        /* Claim the slot: the node may be removing it, and reusing it, at this moment. */
        if (atomic_compare_exchange_strong(&child->process_group, &group, 0)) {
            bool is_left = process_kill_group(group, start_time);
            killed[count++] = (struct program){.tag = tag, .group = is_left ? group : 0};
        }
    }
    return count;
}

enum err children_kill_expired(struct guardian_page *page, uint64_t now_us)
{
    struct program at[GUARDIAN_CHILDREN_MAX];
    const struct programs killed = {
        .at = at, .count = kill_groups(page, now_us, at), .below = getpid()};
    return killed.count == 0 ? ERR_OK : programs_kill(&killed, SWEEP_TIMEOUT_MS);
}

void children_kill_all(struct guardian_page *page)
{
    children_kill_expired(page, UINT64_MAX);
}

static bool read_records(const char *data_dir, struct file *out)
{
    int fd;
    char path[4096];
    if (open_file(data_dir, O_RDONLY, &fd, path) != ERR_OK) {
        return false;
    }
    /* A node that lives keeps it locked: its children are none of our business. */
    bool abandoned = lock(fd, F_RDLCK);
    ssize_t got = abandoned ? read(fd, out, sizeof *out) : 0;
    close(fd);
    char boot_id[40] = "";
    process_boot_id(boot_id);
    return got == (ssize_t)sizeof *out && memcmp(out->magic, magic, sizeof magic) == 0 &&
           memcmp(out->boot_id, boot_id, 36) == 0;
}

/* A group whose leader is gone cannot be told by its start time; one of its processes must have the
 * program's tag, lest a stranger is killed. */
static bool is_ours(const struct record *r)
{
    uint64_t found = process_start_time(r->process_group);
    return found != 0 ? found == r->start_time : program_tag_in_group(r->process_group, r->tag);
}

/* All that is left of these programs. Zombies may stay: they are not our children, and hold
 * nothing. */
static enum err kill_left(const struct program *programs, size_t count, struct why *why)
{
    const struct programs left = {.at = programs, .count = count};
    enum err e = count > 0 ? programs_kill(&left, CLEAR_TIMEOUT_MS) : ERR_OK;
    if (e == ERR_IO) {
        return err_why(why, e,
                       "processes left by an earlier run of this node cannot be looked for in "
                       "/proc: too many files are open, here or on the machine");
    } else if (e != ERR_OK) {
        return err_why(
            why, e,
            "processes left by an earlier run of this node do not end although they were "
            "killed; look for them with: grep -l " PROGRAM_TAG_VARIABLE "= /proc/*/environ, and "
            "ps -eo pid,pgid,stat,wchan,args");
    }
    return ERR_OK;
}

enum err children_clear(const char *data_dir, const struct log *log, struct why *why)
{
    struct file file;
    if (!read_records(data_dir, &file)) {
        return ERR_OK;
    }
    struct program programs[GUARDIAN_CHILDREN_MAX];
    size_t count = 0;
    for (int i = 0; i < GUARDIAN_CHILDREN_MAX; i++) {
        const struct record *record = &file.records[i];
        if (record->process_group <= 1) {
            continue;
        }
        struct program program = {.tag = record->tag};
        if (is_ours(record) && kill(-record->process_group, SIGKILL) == 0) {
            log_warn(log, "killing what an earlier process left running",
                     log_i64("process_group", record->process_group));
            program.group = record->process_group;
        }
        programs[count++] = program;
    }
    return kill_left(programs, count, why);
}
