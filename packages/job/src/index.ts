/** The job file: schema, helpers, loading, resolved form. */
export {}
