#include "elections_plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* One panel below the other; in pixels. */
enum { WIDTH = 900, PANEL = 380, LEFT = 60, RIGHT = 150, TOP = 50, BOTTOM = 50 };
static const double axis_min_ms = 1, axis_max_ms = 20000;

static const char *const colors[] = {
    "#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677",
    "#aa3377", "#777777", "#004488", "#bb5566", "#117733",
};

static double x_of(double ms)
{
    double share = log(fmax(ms, axis_min_ms) / axis_min_ms) / log(axis_max_ms / axis_min_ms);
    return LEFT + fmin(share, 1) * (WIDTH - LEFT - RIGHT);
}

static double y_of(double share, int panel)
{
    return panel * PANEL + TOP + (1 - share) * (PANEL - TOP - BOTTOM);
}

static void draw_axes(FILE *out, const struct election_panel *p, int panel)
{
    static const double ticks_ms[] = {1, 10, 100, 1000, 10000};
    fprintf(out, "<text x='%d' y='%d' class='title'>%s</text>\n", LEFT, panel * PANEL + 30,
            p->title);
    for (size_t i = 0; i < sizeof ticks_ms / sizeof *ticks_ms; i++) {
        double x = x_of(ticks_ms[i]);
        fprintf(out, "<line x1='%.1f' x2='%.1f' y1='%.1f' y2='%.1f' class='grid'/>\n", x, x,
                y_of(0, panel), y_of(1, panel));
        fprintf(out, "<text x='%.1f' y='%.1f' text-anchor='middle'>%g ms</text>\n", x,
                y_of(0, panel) + 18, ticks_ms[i]);
    }
    for (int percent = 0; percent <= 100; percent += 25) {
        double y = y_of(percent / 100.0, panel);
        fprintf(out, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='grid'/>\n", LEFT,
                WIDTH - RIGHT, y, y);
        fprintf(out, "<text x='%d' y='%.1f' text-anchor='end'>%d %%</text>\n", LEFT - 8, y + 4,
                percent);
    }
}

static void draw_curve(FILE *out, const struct election_curve *c, int panel, int which)
{
    enum { POINTS = 200 };
    const char *color = colors[(size_t)which % (sizeof colors / sizeof *colors)];
    fprintf(out, "<polyline class='curve' stroke='%s' points='", color);
    for (uint32_t i = 0; i <= POINTS; i++) {
        uint32_t at = (uint32_t)((uint64_t)(c->count - 1) * i / POINTS);
        double share = (double)(at + 1) / c->count;
        fprintf(out, "%.1f,%.1f ", x_of((double)c->times_us[at] / 1000), y_of(share, panel));
    }
    fprintf(out, "'/>\n");
    if (c->published_median_ms > 0) {
        fprintf(out, "<circle cx='%.1f' cy='%.1f' r='4' fill='%s'/>\n",
                x_of(c->published_median_ms), y_of(0.5, panel), color);
    }
    double y = y_of(1, panel) + 14 + which * 18;
    fprintf(out, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f' class='curve' stroke='%s'/>\n",
            WIDTH - RIGHT + 14, WIDTH - RIGHT + 34, y, y, color);
    fprintf(out, "<text x='%d' y='%.1f'>%s</text>\n", WIDTH - RIGHT + 40, y + 4, c->label);
}

bool elections_plot(const char *path, const struct election_panel *panels, int panels_count)
{
    FILE *out = fopen(path, "we");
    if (out == NULL) {
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    fprintf(out,
            "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
            "font-family='sans-serif' font-size='12'>\n"
            "<style>.grid{stroke:#ddd}.curve{fill:none;stroke-width:1.6}"
            ".title{font-size:15px;font-weight:bold}</style>\n"
            "<rect width='100%%' height='100%%' fill='white'/>\n",
            WIDTH, panels_count * PANEL + 24);
    for (int p = 0; p < panels_count; p++) {
        draw_axes(out, &panels[p], p);
        for (int i = 0; i < panels[p].count; i++) {
            draw_curve(out, &panels[p].curves[i], p, i);
        }
    }
    fprintf(out,
            "<text x='%d' y='%d'>Time without a leader; share of the trials. Dots: medians that "
            "the Raft paper publishes (Figure 16).</text>\n</svg>\n",
            LEFT, panels_count * PANEL + 8);
    if (fclose(out) != 0) {
        fprintf(stderr, "cannot write %s: %s\n", path, strerror(errno));
        return false;
    }
    return true;
}
