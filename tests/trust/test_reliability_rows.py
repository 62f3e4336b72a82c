"""Every promise about bad input and faults, with the tests that hold it: a promise without a test is none."""

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
HOSTILE, FAULTS, NUMBERS = "trust/test_hostile_files.py", "trust/test_faults.py", "trust/test_trust_numbers.py"
CHECKPOINTS, OUTPUT, PROMPTS = "cli/test_checkpoint_faults.py", "cli/test_output.py", "cli/test_prompts.py"
RECORD, KAPPA = "gaussian/test_record.py", "models/attention/test_attention_numerics.py"
MASKS = "trust/test_masks.py"
ROWS = {
    "truncated or corrupt safetensors": [
        (HOSTILE, "test_truncated_or_corrupt_safetensors"), (CHECKPOINTS, "test_missing_tensor"),
        (CHECKPOINTS, "test_extra_tensor"), (CHECKPOINTS, "test_misshapen_tensor"),
    ],
    "damaged results": [
        (HOSTILE, "test_damaged_results"),
        ("test_storage.py", "test_a_file_that_declares_more_than_it_can_hold_is_refused_before_it_is_read"),
    ],
    "flipped payload bytes": [
        (HOSTILE, "test_flipped_payload_bytes"), ("models/test_shipped.py", "test_one_flipped_bit_is_caught"),
    ],
    "pickle": [(HOSTILE, "test_pickle_is_never_unpickled"), (CHECKPOINTS, "test_pickle_is_refused_unless_asked_for")],
    "declared sizes and checksums": [
        (HOSTILE, "test_hand_made_attacks"), ("probe/test_pickle_sizes.py", "test_one_flipped_bit_of_the_numbers_is_caught"),
    ],
    "trust_remote_code, auto_map": [(CHECKPOINTS, "test_remote_code_is_never_followed"), (HOSTILE, "test_hand_made_attacks")],
    "NaN or Inf weights": [(CHECKPOINTS, "test_weights_that_are_not_finite_are_named_and_counted")],
    "edited config": [
        (HOSTILE, "test_config_edited_so_that_the_model_computes_something_else"),
        ("trust/test_identity.py", "test_a_changed_file_is_another_run"),
    ],
    "vocabulary smaller than a token id": [(CHECKPOINTS, "test_vocabulary_smaller_than_a_token_id")],
    "empty prompt": [(HOSTILE, "test_prompts_of_every_length"), (PROMPTS, "test_empty_text_is_refused")],
    "prompt of 1 or 2 tokens": [
        (HOSTILE, "test_prompts_of_every_length"), (PROMPTS, "test_shortest_prompts_run_and_what_is_undefined_is_null"),
    ],
    "prompt over the context": [
        (HOSTILE, "test_prompts_of_every_length"), (PROMPTS, "test_long_prompt_is_refused_or_cut_when_asked"),
    ],
    "pad tokens and no mask": [
        (PROMPTS, "test_padded_batch_needs_its_mask"), (MASKS, "test_padded_batch_equals_its_rows_alone"),
        ("probe/test_encode_prompts.py", "test_a_mask_that_does_not_fit_is_refused"),
        ("probe/test_encode_prompts.py", "test_a_mask_that_is_none_or_hides_more_than_padding_is_refused"),
    ],
    "hostile token text": [
        ("trust/test_hostile_tokens.py", name) for name in (
            "test_report_has_the_element_tree_of_plain_tokens", "test_figures_for_papers_are_svg_without_scripts_or_links",
            "test_newick_is_read_back_whole_by_its_grammar", "test_json_is_ascii_and_read_back_equal",
            "test_netcdf_is_read_back_equal", "test_tables_are_read_back_with_as_many_cells",
            "test_terminal_receives_nothing_that_steers_it",
        )
    ],
    "non-SPD, asymmetric, NaN covariance": [
        (NUMBERS, "test_malformed_covariance_is_refused_by_index"),
        (RECORD, "test_a_covariance_that_is_not_positive_definite_is_refused_by_index"),
    ],
    "near-singular covariance": [
        (RECORD, "test_condition_flag"), (RECORD, "test_jitter_is_added_only_when_asked_and_reported"),
    ],
    "kappa 0, negative, NaN; tiny or huge": [
        (NUMBERS, "test_malformed_kappa_is_refused"), (NUMBERS, "test_extreme_kappa_neither_overflows_nor_lies"),
        (KAPPA, "test_vanishing_temperature_takes_the_nearest_and_ties_share"),
    ],
    "bf16/fp16 activations": [
        (NUMBERS, "test_low_precision_equals_float64_of_what_was_stored"),
        ("probe/test_moments.py", "test_low_precision_scores_are_upcast_before_anything_is_summed"),
    ],
    "a fully masked row": [
        (MASKS, "test_fully_masked_row_has_no_moments"), (MASKS, "test_fully_masked_row_of_divergence_attention_is_nan"),
        (MASKS, "test_batch_with_a_fully_masked_row_is_refused"),
        (MASKS, "test_row_that_sees_only_the_sink_is_nan_with_a_reason"),
    ],
    "tied merges": [
        ("condensation/test_ties.py", "test_ties_are_counted"),
        ("condensation/test_ties.py", "test_permuting_tokens_permutes_the_tree"),
    ],
    "disk full, read-only": [
        (FAULTS, "test_disk_full"), (FAULTS, "test_read_only_directory"), (OUTPUT, "test_full_disk_is_found_before_computing"),
    ],
    "killed at any instant": [(FAULTS, "test_killed_at_any_instant")],
    "two runs into one directory": [
        (FAULTS, "test_two_runs_into_one_directory"), (FAULTS, "test_lock_of_a_dead_run"),
        (OUTPUT, "test_second_run_into_the_directory_of_a_running_one"),
    ],
    "no CUDA; out of memory": [
        (CHECKPOINTS, "test_device_that_is_not_there"), (CHECKPOINTS, "test_memory_that_runs_out_is_the_environment"),
        (CHECKPOINTS, "test_memory_that_runs_out_while_reading_is_no_fault_of_the_checkpoint"),
        (CHECKPOINTS, "test_memory_that_runs_out_while_reading_is_no_fault_of_a_result"),
    ],
    "KL against 60 digits": [
        ("gaussian/test_divergence.py", "test_unrelated_beliefs_match_60_digits"),
        ("gaussian/test_divergence.py", "test_near_equal_beliefs_match_60_digits"),
        ("gaussian/test_divergence.py", "test_published_values"),
        ("gaussian/test_divergence.py", "test_equal_beliefs_have_exactly_zero_divergence"),
    ],
    "threads": [
        ("trust/test_threads.py", "test_same_threads_same_bytes"), ("trust/test_threads.py", "test_other_threads_same_numbers"),
    ],
    "properties": [
        (NUMBERS, "test_divergence_is_affine_invariant"), (NUMBERS, "test_exponential_of_minus_undoes_it"),
        ("gaussian/test_divergence.py", "test_additivity_over_independent_blocks"),
        ("gaussian/test_averaging.py", "test_merge_is_associative"),
    ],
    "content security policy": [
        ("report/test_writing.py", "test_policy_allows_exactly_the_scripts_and_styles_of_the_page"),
        ("report/test_writing.py", "test_nothing_is_fetched"),
        ("trust/test_hostile_tokens.py", "test_report_has_the_element_tree_of_plain_tokens"),
    ],
}  # fmt: skip


@cache
def names_in(path):
    return {
        node.name for node in ast.parse((TESTS / path).read_text("utf-8")).body if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("row", ROWS)
def test_promise_has_its_tests(row):
    assert [f"{path}::{name}" for path, name in ROWS[row] if name not in names_in(path)] == []
