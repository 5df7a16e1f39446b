/* A stack of nodes: the last one may be the left half of the one that comes. */
#include "model/parallel/group_tree.h"

#include "base/memory.h"

#include <string.h>

td_group_node td_group_leaf(int index) { return (td_group_node){0, index}; }

static bool are_halves(td_group_node left, td_group_node right) {
    return left.level == right.level && left.index % 2 == 0 && left.index + 1 == right.index;
}

static td_group_node parent_of(td_group_node node) { return (td_group_node){node.level + 1, node.index / 2}; }

static void add(float *restrict left, const float *restrict right, size_t count) {
    for (size_t i = 0; i < count; i++) left[i] += right[i];
}

td_status td_group_tree_push(td_group_tree *tree, td_group_node node, const float *values) {
    while (tree->open && are_halves(tree->nodes[tree->open - 1], node)) {
        int left = --tree->open;
        add(tree->values[left], values, tree->elements);
        values = tree->values[left];
        node = parent_of(node);
    }
    float **room = &tree->values[tree->open];
    if (!*room && !(*room = td_calloc(tree->elements, sizeof(float)))) return TD_ERR_MEMORY;
    if (values != *room) memcpy(*room, values, tree->elements * sizeof(float));
    tree->nodes[tree->open++] = node;
    return TD_OK;
}

int td_group_tree_cover(int first, int end, td_group_node nodes[GROUP_TREE_DEPTH]) {
    int open = 0;
    for (int leaf = first; leaf < end; leaf++) {
        td_group_node node = td_group_leaf(leaf);
        while (open && are_halves(nodes[open - 1], node)) {
            open--;
            node = parent_of(node);
        }
        nodes[open++] = node;
    }
    return open;
}

void td_group_tree_clear(td_group_tree *tree) { tree->open = 0; }

void td_group_tree_free(td_group_tree *tree) {
    for (int i = 0; i < GROUP_TREE_DEPTH; i++) td_free(tree->values[i]);
    *tree = (td_group_tree){0};
}
