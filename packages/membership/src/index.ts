/** Join, ready, vote, commit, abort: (state, event) to (state, effects, reason). */
export {}
