/* The commands of a trace. One line each; README.md lists them. */
#ifndef MK_TESTS_TRACES_COMMAND_H
#define MK_TESTS_TRACES_COMMAND_H

#include "cluster.h"

/* Carry out one line. What it leads to, or what is wrong with it, goes to c->out. */
void command_run(struct cluster *c, const char *line);

#endif
