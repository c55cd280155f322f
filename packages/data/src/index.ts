/** Documents, packing, held-out split, sample order as a keyed permutation. */
export {}
