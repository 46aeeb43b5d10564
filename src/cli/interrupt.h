/* Ctrl-C, SIGTERM, a closed terminal and a reader of our output that has left (`| head`), for verbs
 * that run until then and have something to tidy up. */
#ifndef MK_CLI_INTERRUPT_H
#define MK_CLI_INTERRUPT_H

/* From now on SIGINT, SIGTERM and SIGHUP are counted; calls that wait return early with EINTR.
 * SIGPIPE counts once, however much was written since: it is nobody's second Ctrl-C. */
void interrupt_watch(void);
unsigned interrupt_count(void);

#endif
