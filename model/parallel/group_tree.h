/*
 * Sums along one binary tree over numbered leaves. Leaf g is node (level 0, index g); node (l, i) is the sum of
 * (l-1, 2i) and (l-1, 2i+1), in this order. Nodes are pushed from left to right, and whenever both halves of a
 * node are there the node takes their place: so whatever run of leaves somebody has, he is left with the few
 * largest nodes that lie within it, and joining those of neighbours goes on in the same way. Central object:
 * td_group_tree, plain, f32. Internal to model/parallel.
 */
#ifndef TANDEM_MODEL_PARALLEL_GROUP_TREE_H
#define TANDEM_MODEL_PARALLEL_GROUP_TREE_H

#include "base/status.h"

enum { GROUP_TREE_DEPTH = 24 }; /* of 1024 leaves at most 2 * 10 nodes are open at once */

typedef struct td_group_node {
    int level, index;
} td_group_node;

typedef struct td_group_tree {
    size_t elements; /* of a node */
    int open;        /* nodes that wait for their other half, or for the end */
    td_group_node nodes[GROUP_TREE_DEPTH];
    float *values[GROUP_TREE_DEPTH]; /* [elements]; from `open` on spare ones, or NULL */
} td_group_tree;

td_group_node td_group_leaf(int index);

/* Add a node whose values are `values` [elements], which are copied or added. */
td_status td_group_tree_push(td_group_tree *tree, td_group_node node, const float *values);

/* Only what stays open, without values: how many nodes the leaves [first, end) are left as, and which. */
int td_group_tree_cover(int first, int end, td_group_node nodes[GROUP_TREE_DEPTH]);

/* Empty it; memory stays for the next time. */
void td_group_tree_clear(td_group_tree *tree);
void td_group_tree_free(td_group_tree *tree);

#endif
