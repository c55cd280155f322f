/** Process groups and the executor of collective plans. */
export {}
