/** The process around membership: commit log, control links, HTTP status and events. */
export {}
