"""The node columns of NAME.trees.json, and how a result hands out its trees."""

import json

import numpy as np
from synthetic_flow import synthetic_flow

from rgprobe.cli.tree_file import trees_json
from rgprobe.condensation import CondensationTree


def test_every_record_holds_its_nodes_linked_to_the_tokens():
    flow = synthetic_flow()
    for record in json.loads(trees_json(flow))["trees"]:
        prompt, depth = record["prompt"], record["depth"]
        tree, nodes = CondensationTree.from_json(json.dumps(record)), record["nodes"]
        assert nodes["parent"] == record["parents"]
        np.testing.assert_array_equal(nodes["height"][tree.n_leaves :], flow.tree(prompt, depth).heights)
        for node, places in enumerate(nodes["positions"]):
            assert nodes["text"][node] == "".join(flow.tokens[prompt][place] for place in places)
            assert nodes["support"][node] == len(places)


def test_a_result_hands_out_the_trees_of_a_prompt_in_order_of_depth():
    flow = synthetic_flow()
    trees = flow.trees(2)
    assert len(trees) == 6
    for depth, tree in enumerate(trees):
        np.testing.assert_array_equal(tree.linkage, flow.tree(2, depth).linkage)
    assert flow.tree_table(2, 0).positions[0] == (1,)  # the sink is not recorded
