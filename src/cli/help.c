#include "cli/help.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 80, NAME_COLUMNS = 33 };

/* Print the words of a text, from a column on; what does not fit begins lines of its own, with so
 * many blanks. */
static void fill(const char *text, size_t size, size_t column, size_t indent)
{
    for (size_t at = 0; at < size;) {
        size_t word = strcspn(text + at, " \n");
        if (column > indent && column + 1 + word > COLUMNS) {
            printf("\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            putchar(' ');
            column++;
        }
        printf("%.*s", (int)word, text + at);
        column += word;
        at += word + 1;
    }
    putchar('\n');
}

static bool is_paragraph(char first)
{
    return first != ' ' && first != '\n' && first != 0;
}

void help_text(const char *text)
{
    while (*text != 0) {
        const char *end = strchr(text, '\n');
        end = end != NULL ? end : text + strlen(text);
        while (is_paragraph(*text) && *end == '\n' && is_paragraph(end[1])) {
            end += 1 + strcspn(end + 1, "\n");
        }
        if (is_paragraph(*text)) {
            fill(text, (size_t)(end - text), 0, 0);
        } else {
            printf("%.*s\n", (int)(end - text), text);
        }
        text = *end == '\n' ? end + 1 : end;
    }
}

void help_row(const char *name, const char *meaning)
{
    printf("  %-*s", NAME_COLUMNS - 2, name);
    if (strlen(name) > NAME_COLUMNS - 3) {
        printf("\n%*s", NAME_COLUMNS, "");
    }
    fill(meaning, strlen(meaning), NAME_COLUMNS, NAME_COLUMNS);
}

static void print_flags(const char *heading, const struct flag *flags, size_t count)
{
    printf("\n%s:\n", heading);
    for (size_t i = 0; i < count; i++) {
        const struct flag *f = &flags[i];
        char name[64], letter[8] = "    ";
        if (f->help == NULL) {
            continue;
        }
        if (f->letter != 0) {
            snprintf(letter, sizeof letter, "-%c, ", f->letter);
        }
        snprintf(name, sizeof name, "%s--%s %s", letter, f->name,
                 f->value_name != NULL ? f->value_name : "");
        help_row(name, f->help);
    }
}

void help_usage(const struct usage *usage, const struct flag *flags_of_all, size_t count)
{
    printf("Usage: moonkeeper %s\n\n", usage->synopsis);
    help_text(usage->about);
    for (size_t i = 0; i < usage->actions_count; i++) {
        const struct cli_action *action = &usage->actions[i];
        char name[64];
        snprintf(name, sizeof name, "%s %s", action->full, action->arguments);
        fputs(i == 0 ? "\n" : "", stdout);
        help_row(name, action->summary);
    }
    if (usage->actions_count > 0) {
        printf("\nWhat each takes is told by its own --help: moonkeeper %s --help\n",
               usage->actions[0].full);
    }
    if (usage->flags_count > 0) {
        print_flags("Flags", usage->flags, usage->flags_count);
    }
    print_flags("Flags of every verb", flags_of_all, count);
}
