#include "cli/local_cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "cli/client.h"
#include "cli/paths.h"
#include "cli/view.h"
#include "wire/writer.h"

enum {
    LINE_MAX_BYTES = 1 << 16,
    ASK_TIMEOUT_US = 200000,
    STOP_PUMP_MS = 10, /* while stopping: sooner than the leader misses the others */
    END_TRIES = 2000,  /* of a millisecond, for killed processes to be gone */
};

struct local_node {
    char id[16];
    char client[ADDRESS_TEXT_MAX], peer[ADDRESS_TEXT_MAX], http[ADDRESS_TEXT_MAX];
    char *config_path;
    pid_t guardian; /* 0: it does not run */
    int output;     /* the reading end of its stdout and stderr; -1: none */
    struct buffer partial;
};

/* A line that was read in this round. The lines of a round are passed on in order of their time
 * stamps: what the nodes said at one time came through several pipes. */
struct said {
    unsigned node;
    char *text;
};

struct local_cluster {
    struct local_options options;
    struct said *said;
    size_t said_count, said_capacity;
    char data_dir[PATH_MAX - 64];
    bool temporary;
    bool stopping;
    bool output_lost; /* nobody reads our stdout */
    unsigned last;    /* while stopping: the node that leads; the number of nodes: none */
    struct local_node nodes[LOCAL_NODES_MAX];
};

/* ---- flags ---------------------------------------------------------------------------------- */

static bool parse_number(const char *text, unsigned min, unsigned max, unsigned *out)
{
    uint64_t value = 0;
    bool good = cli_parse_number(text, max, &value) && value >= min;
    *out = (unsigned)value;
    return good;
}

bool local_cluster_parse_nodes(const char *text, unsigned *out)
{
    return parse_number(text, 1, LOCAL_NODES_MAX, out);
}

bool local_cluster_parse_port(const char *text, unsigned *out)
{
    return parse_number(text, 1024, 65400, out);
}

/* ---- configurations ------------------------------------------------------------------------- */

static void add_quoted(struct buffer *out, const char *text)
{
    buffer_add_u8(out, '"');
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n') {
            buffer_add_u8(out, '\\');
        }
        buffer_add_u8(out, (uint8_t)*text);
    }
    buffer_add_u8(out, '"');
}

static void add_config(const struct local_cluster *c, const struct local_node *n,
                       struct buffer *out)
{
    const struct local_options *o = &c->options;
    buffer_add_format(out,
                      "-- Written by moonkeeper dev.\nreturn {\n  cluster = \"dev\", id = \"%s\","
                      "\n  members = {\n",
                      n->id);
    for (unsigned i = 0; i < o->nodes; i++) {
        buffer_add_format(out, "    { id = \"%s\", peer = \"%s\", client = \"%s\" },\n",
                          c->nodes[i].id, c->nodes[i].peer, c->nodes[i].client);
    }
    buffer_add_format(out, "  },\n  client = \"%s\", http = \"%s\",\n  data_dir = ", n->client,
                      n->http);
    char data[PATH_MAX];
    snprintf(data, sizeof data, "%s/%s", c->data_dir, n->id);
    add_quoted(out, data);
    buffer_add_format(out, ",\n  log = { format = \"json\"");
    if (o->log_level != NULL) {
        buffer_add_format(out, ", level = \"%s\"", o->log_level);
    }
    buffer_add_format(out, " },\n%s  apps = {\n", o->config == NULL ? "  stop_ms = 2000,\n" : "");
    for (unsigned i = 0; i < o->scripts_count; i++) {
        buffer_add_format(out, "    { script = ");
        add_quoted(out, o->scripts[i]);
        buffer_add_format(out, " },\n");
    }
    buffer_add_format(out, "  },\n}\n");
}

static enum err write_config(const struct local_cluster *c, const struct local_node *n,
                             struct why *why)
{
    struct buffer text = {0};
    add_config(c, n, &text);
    FILE *file = fopen(n->config_path, "we");
    bool written = file != NULL && fwrite(text.data, 1, text.size, file) == text.size;
    if (file != NULL && fclose(file) != 0) {
        written = false;
    }
    buffer_close(&text);
    return written ? ERR_OK
                   : err_why(why, ERR_IO, "cannot write %s: %s", n->config_path, strerror(errno));
}

static enum err make_data_dir(struct local_cluster *c, struct why *why)
{
    const char *given = c->options.data_dir;
    if (given != NULL) {
        snprintf(c->data_dir, sizeof c->data_dir, "%s", given);
        return paths_make_directory(given, why);
    }
    const char *base = getenv("TMPDIR");
    snprintf(c->data_dir, sizeof c->data_dir, "%s/moonkeeper-dev-XXXXXX",
             base != NULL && *base != 0 ? base : "/tmp");
    c->temporary = mkdtemp(c->data_dir) != NULL;
    return c->temporary ? ERR_OK
                        : err_why(why, ERR_IO, "cannot create a directory like %s: %s", c->data_dir,
                                  strerror(errno));
}

enum err local_cluster_open(const struct local_options *options, struct local_cluster **out,
                            struct why *why)
{
    ASSERT(options->nodes >= 1 && options->nodes <= LOCAL_NODES_MAX);
    struct local_cluster *c = NEW(struct local_cluster);
    c->options = *options;
    /* The nodes of guardians that were killed are ours then: their end can be waited for. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    enum err e = make_data_dir(c, why);
    for (unsigned i = 0; i < options->nodes; i++) {
        struct local_node *n = &c->nodes[i];
        unsigned port = options->base_port + i * LOCAL_PORTS_PER_NODE;
        n->output = -1;
        snprintf(n->id, sizeof n->id, "n%u", i + 1);
        snprintf(n->client, sizeof n->client, "127.0.0.1:%u", port);
        snprintf(n->peer, sizeof n->peer, "127.0.0.1:%u", port + 1);
        snprintf(n->http, sizeof n->http, "127.0.0.1:%u", port + 2);
        struct buffer path = {0};
        buffer_add_format(&path, "%s/%s.lua", c->data_dir, n->id);
        n->config_path = alloc_string(buffer_text(&path));
        buffer_close(&path);
    }
    for (unsigned i = 0; i < options->nodes && e == ERR_OK; i++) {
        e = write_config(c, &c->nodes[i], why);
    }
    if (e != ERR_OK) {
        local_cluster_close(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

/* A node goes with its guardian, but not at once; and as long as it lives, it may write. */
static void wait_for_the_end(void)
{
    pid_t pid = 0;
    for (unsigned tries = 0; tries < END_TRIES && pid >= 0; tries++) {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0) {
            usleep(1000);
        }
    }
}

void local_cluster_close(struct local_cluster *c)
{
    if (c == NULL) {
        return;
    }
    for (unsigned i = 0; i < c->options.nodes; i++) {
        struct local_node *n = &c->nodes[i];
        if (n->guardian != 0) {
            kill(n->guardian, SIGKILL);
        }
        if (n->output >= 0) {
            close(n->output);
        }
        buffer_close(&n->partial);
        free(n->config_path);
    }
    wait_for_the_end();
    if (c->temporary) {
        paths_remove_tree(c->data_dir);
    }
    free(c->said);
    free(c);
}

/* ---- processes ------------------------------------------------------------------------------ */

static _Noreturn void become_node(const struct local_cluster *c, const struct local_node *n,
                                  int output)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* ours: they go too */
    setpgid(0, 0);                    /* Ctrl-C is for us; what it means for them, we say */
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    const char *base = c->options.config;
    if (base != NULL) {
        execl("/proc/self/exe", "moonkeeper", "start", "-c", base, "--overlay", n->config_path,
              (char *)NULL);
    } else {
        execl("/proc/self/exe", "moonkeeper", "start", "-c", n->config_path, (char *)NULL);
    }
    fprintf(stderr, "cannot run /proc/self/exe: %s\n", strerror(errno));
    _exit(EXIT_FAILURE);
}

enum err local_cluster_start(struct local_cluster *c, unsigned node, struct why *why)
{
    ASSERT(node < c->options.nodes);
    struct local_node *n = &c->nodes[node];
    ASSERT(n->guardian == 0);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return err_why(why, ERR_IO, "cannot make a pipe: %s", strerror(errno));
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        become_node(c, n, ends[1]);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        return err_why(why, ERR_IO, "cannot fork: %s", strerror(errno));
    }
    if (n->output >= 0) {
        close(n->output);
    }
    n->output = ends[0];
    fcntl(n->output, F_SETFL, O_NONBLOCK);
    buffer_clear(&n->partial);
    n->guardian = child;
    return ERR_OK;
}

/* The guardian's only child while no script has left one; 0 if there is none. */
static pid_t node_of(pid_t guardian)
{
    char path[64];
    int child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)guardian, (int)guardian);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        if (fscanf(file, "%d", &child) != 1) {
            child = 0;
        }
        fclose(file);
    }
    return child;
}

void local_cluster_kill(struct local_cluster *c, unsigned node, bool guardian)
{
    struct local_node *n = &c->nodes[node];
    if (n->guardian == 0) {
        return;
    }
    pid_t child = node_of(n->guardian);
    if (guardian) {
        kill(n->guardian, SIGKILL);
    }
    if (child > 1) {
        kill(child, SIGKILL);
    }
}

unsigned local_cluster_leader(const struct local_cluster *c, unsigned *followers)
{
    unsigned leader = c->options.nodes;
    uint64_t highest = 0;
    *followers = 0;
    for (unsigned i = 0; i < c->options.nodes; i++) {
        struct buffer status = {0};
        struct why why;
        char role[32];
        if (c->nodes[i].guardian != 0 && client_ask(c->nodes[i].client, "status", bytes_of(NULL, 0),
                                                    ASK_TIMEOUT_US, &status, &why) == ERR_OK) {
            struct bytes s = buffer_bytes(&status);
            uint64_t term = view_u64(s, "term");
            view_text(s, "role", role, sizeof role);
            if (strcmp(role, "leader") == 0 && term > highest) {
                leader = i;
                highest = term;
            }
            *followers += strcmp(role, "follower") == 0 && !view_is_nil(view_get(s, "leader"));
        }
        buffer_close(&status);
    }
    return leader;
}

bool local_cluster_write(const struct local_cluster *c, unsigned node, const char *key,
                         uint64_t value, uint64_t timeout_us)
{
    struct buffer params = {0}, result = {0};
    struct why why;
    write_array(&params, 4);
    write_text(&params, "kv");
    write_text(&params, "set");
    write_map(&params, 2);
    write_text(&params, "key");
    write_text(&params, key);
    write_text(&params, "value");
    write_u64(&params, value);
    write_map(&params, 1);
    write_text(&params, "timeout_ms");
    write_u64(&params, timeout_us / 1000);
    bool done = client_ask(c->nodes[node].client, "propose", buffer_bytes(&params), timeout_us,
                           &result, &why) == ERR_OK;
    buffer_close(&params);
    buffer_close(&result);
    return done;
}

static void ask_to_stop(const struct local_node *n)
{
    if (n->guardian != 0) {
        kill(n->guardian, SIGTERM);
    }
}

void local_cluster_stop(struct local_cluster *c)
{
    unsigned followers;
    c->stopping = true;
    c->last = local_cluster_leader(c, &followers);
    for (unsigned i = 0; i < c->options.nodes; i++) {
        if (i != c->last) {
            ask_to_stop(&c->nodes[i]);
        }
    }
}

/* The others are gone: now the leader. */
static void stop_the_last(struct local_cluster *c)
{
    if (c->stopping && c->last < c->options.nodes &&
        local_cluster_running(c) == local_cluster_is_running(c, c->last)) {
        ask_to_stop(&c->nodes[c->last]);
        c->last = c->options.nodes;
    }
}

/* ---- output --------------------------------------------------------------------------------- */

static void take_lines(struct local_cluster *c, unsigned node)
{
    struct buffer *partial = &c->nodes[node].partial;
    uint8_t *end;
    while (partial->size > 0 && (end = memchr(partial->data, '\n', partial->size)) != NULL) {
        *end = 0;
        if (c->said_count == c->said_capacity) {
            c->said_capacity = c->said_capacity * 2 + 64;
            c->said = alloc_resize(c->said, c->said_capacity, sizeof *c->said);
        }
        c->said[c->said_count++] =
            (struct said){.node = node, .text = alloc_string((const char *)partial->data)};
        buffer_consume(partial, (size_t)(end - partial->data) + 1);
    }
    if (partial->size > LINE_MAX_BYTES) {
        buffer_clear(partial);
    }
}

static void read_output(struct local_cluster *c, unsigned node)
{
    struct local_node *n = &c->nodes[node];
    char text[8192];
    ssize_t got;
    while ((got = read(n->output, text, sizeof text)) > 0) {
        buffer_add(&n->partial, text, (size_t)got);
        take_lines(c, node);
    }
    if (got == 0) {
        close(n->output);
        n->output = -1;
    }
}

/* Does a belong after b? Lines that are no log lines stay where they are. */
static bool is_later(const struct said *a, const struct said *b)
{
    static const char start[] = "{\"ts\":\"";
    enum { START = sizeof start - 1, STAMP = 24 };
    return strncmp(a->text, start, START) == 0 && strncmp(b->text, start, START) == 0 &&
           strncmp(a->text + START, b->text + START, STAMP) > 0;
}

/* Insertion: stable, and the lines of each node are in order already. */
static void pass_on_lines(struct local_cluster *c)
{
    for (size_t i = 1; i < c->said_count; i++) {
        struct said moving = c->said[i];
        size_t at = i;
        for (; at > 0 && is_later(&c->said[at - 1], &moving); at--) {
            c->said[at] = c->said[at - 1];
        }
        c->said[at] = moving;
    }
    for (size_t i = 0; i < c->said_count; i++) {
        c->options.line(c->options.ctx, c->said[i].node, c->said[i].text);
        free(c->said[i].text);
    }
    c->said_count = 0;
}

static void guardian_ended(struct local_cluster *c, unsigned node, int status)
{
    struct local_node *n = &c->nodes[node];
    n->guardian = 0;
    if (n->output >= 0) {
        read_output(c, node);
        pass_on_lines(c);
    }
    c->options.ended(c->options.ctx, node, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void reap(struct local_cluster *c)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        unsigned i = 0;
        while (i < c->options.nodes && c->nodes[i].guardian != pid) {
            i++;
        }
        if (i < c->options.nodes) { /* else a node that its guardian left to us */
            guardian_ended(c, i, status);
        }
    }
}

void local_cluster_pump(struct local_cluster *c, int max_ms)
{
    struct pollfd fds[LOCAL_NODES_MAX + 1];
    for (unsigned i = 0; i < c->options.nodes; i++) {
        fds[i] = (struct pollfd){.fd = c->nodes[i].output, .events = POLLIN};
    }
    struct pollfd *ours = &fds[c->options.nodes];
    *ours = (struct pollfd){.fd = c->output_lost ? -1 : STDOUT_FILENO}; /* only for POLLERR */
    if (c->stopping && max_ms > STOP_PUMP_MS) {
        max_ms = STOP_PUMP_MS;
    }
    if (poll(fds, c->options.nodes + 1, max_ms) > 0) {
        for (unsigned i = 0; i < c->options.nodes; i++) {
            if (fds[i].revents != 0) {
                read_output(c, i);
            }
        }
        pass_on_lines(c);
        if ((ours->revents & POLLERR) != 0) {
            c->output_lost = true;
            raise(SIGPIPE); /* as the next line would; that one may be long in coming */
        }
    }
    reap(c);
    stop_the_last(c);
}

/* ---- looking -------------------------------------------------------------------------------- */

unsigned local_cluster_size(const struct local_cluster *c)
{
    return c->options.nodes;
}

unsigned local_cluster_running(const struct local_cluster *c)
{
    unsigned running = 0;
    for (unsigned i = 0; i < c->options.nodes; i++) {
        running += c->nodes[i].guardian != 0;
    }
    return running;
}

bool local_cluster_is_running(const struct local_cluster *c, unsigned node)
{
    return c->nodes[node].guardian != 0;
}

const char *local_cluster_id(const struct local_cluster *c, unsigned node)
{
    return c->nodes[node].id;
}

unsigned local_cluster_find(const struct local_cluster *c, const char *id)
{
    unsigned i = 0;
    while (i < c->options.nodes && strcmp(c->nodes[i].id, id) != 0) {
        i++;
    }
    return i;
}

const char *local_cluster_client(const struct local_cluster *c, unsigned node)
{
    return c->nodes[node].client;
}

const char *local_cluster_http(const struct local_cluster *c, unsigned node)
{
    return c->nodes[node].http;
}

const char *local_cluster_data_dir(const struct local_cluster *c)
{
    return c->data_dir;
}

const char *local_cluster_colour(unsigned node)
{
    static const char *const colours[] = {"\033[36m", "\033[35m", "\033[33m",
                                          "\033[32m", "\033[34m", "\033[31m",
                                          "\033[96m", "\033[95m", "\033[93m"};
    return colours[node % (sizeof colours / sizeof colours[0])];
}
