/** Logger with fixed fields, counters and spans. */
export {}
