/* moonkeeper.core: figures for the page of /metrics. */
#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "script/api.h"
#include "script/metric.h"
#include "script/thread.h"

static const char *const types[] = {"moonkeeper.counter", "moonkeeper.gauge",
                                    "moonkeeper.histogram"};

/* Those that durations in seconds are looked at in. */
static const double default_bounds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

/* ---- what is asked for ------------------------------------------------------------------------
 */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct metrics_label *)a)->name, ((const struct metrics_label *)b)->name);
}

/* The text at index, which has no zero byte. */
static const char *label_text(lua_State *L, int index)
{
    size_t size;
    const char *text = lua_tolstring(L, index, &size);
    if (strlen(text) != size) {
        luaL_error(L, "a label has no zero bytes");
    }
    return text;
}

/* The table of labels at index, which may be absent. Their values are left on the stack: they may
 * have been numbers.
 */
static uint32_t push_labels(lua_State *L, int index, struct metrics_label *out)
{
    uint32_t count = 0;
    if (lua_isnoneornil(L, index)) {
        return 0;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, METRIC_LABELS_MAX + 4, NULL);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int type = lua_type(L, -1);
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING, index, "labels are { name = value }");
        luaL_argcheck(L, type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TBOOLEAN, index,
                      "a label's value is a string, a number or a boolean");
        luaL_argcheck(L, count < METRIC_LABELS_MAX, index, "more than 8 labels");
        luaL_tolstring(L, -1, NULL);
        out[count++] =
            (struct metrics_label){.name = label_text(L, -3), .value = label_text(L, -1)};
        lua_replace(L, -2); /* key, text */
        lua_pushvalue(L, -2);
        lua_remove(L, -3); /* text, key */
    }
    qsort(out, count, sizeof *out, by_name);
    return count;
}

/* Option buckets of the table at index. */
static uint32_t read_bounds(lua_State *L, int index, double *out)
{
    if (!lua_istable(L, index) || lua_getfield(L, index, "buckets") == LUA_TNIL) {
        memcpy(out, default_bounds, sizeof default_bounds);
        return sizeof default_bounds / sizeof default_bounds[0];
    }
    luaL_argcheck(L, lua_istable(L, -1), index, "option buckets is a list of numbers");
    lua_Integer count = luaL_len(L, -1);
    luaL_argcheck(L, count >= 1 && count <= METRIC_BOUNDS_MAX, index,
                  "option buckets has 1 to 32 numbers");
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, -1, i + 1);
        int is_number;
        out[i] = lua_tonumberx(L, -1, &is_number);
        luaL_argcheck(L, is_number && isfinite(out[i]) && (i == 0 || out[i] > out[i - 1]), index,
                      "option buckets is a list of ascending numbers");
        lua_pop(L, 1);
    }
    return (uint32_t)count;
}

static const char *read_help(lua_State *L, int index)
{
    static const char *const known[] = {"help", "buckets", NULL};
    if (lua_isnoneornil(L, index)) {
        return "Of a script.";
    }
    api_check_options(L, index, known);
    if (lua_getfield(L, index, "help") == LUA_TNIL) {
        return "Of a script.";
    }
    luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, index, "option help is a string");
    return lua_tostring(L, -1);
}

static int open_metric(lua_State *L, enum metrics_kind kind)
{
    struct metrics_label labels[METRIC_LABELS_MAX];
    double bounds[METRIC_BOUNDS_MAX];
    struct metric_spec spec = {
        .kind = kind, .name = luaL_checkstring(L, 1), .labels = labels, .bounds = bounds};
    lua_settop(L, 3);
    spec.help = read_help(L, 3);
    if (kind == METRICS_HISTOGRAM) {
        spec.bounds_count = read_bounds(L, 3, bounds);
    }
    spec.labels_count = push_labels(L, 2, labels);
    struct metric **handle = lua_newuserdatauv(L, sizeof(struct metric *), 0);
    *handle = NULL;
    luaL_setmetatable(L, types[kind]);
    struct why why = {""};
    if (metric_open(thread_app(L), &spec, handle, &why) != ERR_OK) {
        return luaL_error(L, "%s", why.text);
    }
    return 1;
}

/* counter(name, labels?, {help}?) -> Counter */
static int core_counter(lua_State *L)
{
    return open_metric(L, METRICS_COUNTER);
}

/* gauge(name, labels?, {help}?) -> Gauge */
static int core_gauge(lua_State *L)
{
    return open_metric(L, METRICS_GAUGE);
}

/* histogram(name, labels?, {help, buckets}?) -> Histogram */
static int core_histogram(lua_State *L)
{
    return open_metric(L, METRICS_HISTOGRAM);
}

/* ---- values -----------------------------------------------------------------------------------
 */

static struct metric *check_metric(lua_State *L, enum metrics_kind kind)
{
    struct metric **handle = luaL_checkudata(L, 1, types[kind]);
    luaL_argcheck(L, *handle != NULL, 1, "it was never opened");
    return *handle;
}

/* Counter:add(n?) */
static int counter_add(lua_State *L)
{
    struct metric *m = check_metric(L, METRICS_COUNTER);
    lua_Number n = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, n >= 0, 2, "a counter does not go down");
    metric_add(m, n);
    return 0;
}

/* Gauge:add(n) */
static int gauge_add(lua_State *L)
{
    metric_add(check_metric(L, METRICS_GAUGE), luaL_checknumber(L, 2));
    return 0;
}

/* Gauge:set(n) */
static int gauge_set(lua_State *L)
{
    metric_set(check_metric(L, METRICS_GAUGE), luaL_checknumber(L, 2));
    return 0;
}

/* Histogram:observe(n) */
static int histogram_observe(lua_State *L)
{
    metric_observe(check_metric(L, METRICS_HISTOGRAM), luaL_checknumber(L, 2));
    return 0;
}

static int metric_gc(lua_State *L)
{
    struct metric **handle = lua_touserdata(L, 1);
    if (*handle != NULL) {
        metric_release(*handle);
        *handle = NULL;
    }
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

void api_metrics_prepare(lua_State *L)
{
    static const luaL_Reg methods[][3] = {
        [METRICS_COUNTER] = {{"add", counter_add}},
        [METRICS_GAUGE] = {{"add", gauge_add}, {"set", gauge_set}},
        [METRICS_HISTOGRAM] = {{"observe", histogram_observe}},
    };
    for (int kind = METRICS_COUNTER; kind <= METRICS_HISTOGRAM; kind++) {
        luaL_newmetatable(L, types[kind]);
        lua_pushcfunction(L, metric_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushliteral(L, "metric");
        lua_setfield(L, -2, "__metatable");
        lua_newtable(L);
        luaL_setfuncs(L, methods[kind], 0);
        lua_setfield(L, -2, "__index");
        lua_pop(L, 1);
    }
}

void api_metrics_add(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"counter", core_counter},
        {"gauge", core_gauge},
        {"histogram", core_histogram},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    lua_setfield(L, -2, "metrics");
}
