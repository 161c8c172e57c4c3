//! Shapes of operators that read or write at positions that the data gives, and what they refuse.

use super::*;
use crate::graph::*;

fn top_k(axis: i64) -> Op {
    Op::TopK(TopK { axis, largest: true })
}

fn scatter() -> Op {
    Op::ScatterNd { reduction: ScatterReduction::None }
}

fn grid() -> Op {
    let (mode, padding) = (SampleMode::Linear, SamplePadding::Zeros);
    Op::GridSample(GridSample { mode, padding, align_corners: false })
}

fn roi() -> Op {
    let (kind, output) = (PoolKind::Average, [7, 5]);
    Op::RoiAlign(RoiAlign { kind, output, sampling_ratio: 0, spatial_scale: 1.0, half_pixel: true })
}

fn deform(offset_groups: usize) -> Op {
    let padding = Padding::Explicit(vec![1, 1, 1, 1]);
    let conv = Conv { padding, strides: vec![2, 2], dilations: vec![], groups: 1 };
    Op::DeformConv(DeformConv { conv, offset_groups })
}

fn boxes() -> Op {
    Op::NonMaxSuppression(NonMaxSuppression { centre_point_box: false })
}

#[test]
fn shapes_of_selections() {
    check_all(vec![
        (top_k(-1), vec![x("N 10"), ints(&[3])], 2, "[N, 3] | [N, 3]"),
        (top_k(0), vec![x("N 10"), i("1")], 2, "[?1, 10] | [?1, 10]"),
    ]);
    check(vec![
        (Op::CumSum(CumSum { exclusive: false, reverse: false }), vec![x("N H"), i("")], "[N, H]"),
        (Op::GatherElements { axis: 1 }, vec![x("N 10 4"), i("N K 4")], "[N, K, 4]"),
        (Op::GatherNd { batch_dims: 0 }, vec![x("8 9 H"), i("N 5 2")], "[N, 5, H]"),
        (Op::GatherNd { batch_dims: 1 }, vec![x("N 9 H"), i("N 5 1")], "[N, 5, H]"),
        (Op::GatherNd { batch_dims: 0 }, vec![x("8 9 H"), i("N D")], "unknown"),
        (
            Op::ScatterElements { axis: 1, reduction: ScatterReduction::Add },
            vec![x("N 10"), i("N K"), x("N K")],
            "[N, 10]",
        ),
        (scatter(), vec![x("8 9 H"), i("N 2"), x("N H")], "[8, 9, H]"),
        (scatter(), vec![x("8 9 H"), i("N D"), x("N H")], "[8, 9, H]"),
        (Op::NonZero, vec![x("N 3 H")], "[3, ?1]"),
        (Op::NonZero, vec![x("")], "[1, ?1]"),
        (boxes(), vec![x("N B 4"), x("N C B")], "[?1, 3]"),
        (grid(), vec![x("N C H W"), x("N 5 P 2")], "[N, C, 5, P]"),
        (grid(), vec![x("N C D H W"), x("N 5 P Q 3")], "[N, C, 5, P, Q]"),
        (roi(), vec![x("N C H W"), x("R 4"), i("R")], "[R, C, 7, 5]"),
        (
            deform(2),
            vec![x("N 4 7 7"), x("6 4 3 3"), x("N 36 4 4"), x("6"), x("N 18 4 4")],
            "[N, 6, 4, 4]",
        ),
    ]);
}

#[test]
fn selections_that_do_not_fit() {
    let table: Vec<(Op, Vec<In>, &str)> = vec![
        (top_k(1), vec![x("N 10"), ints(&[11])], "cannot be selected"),
        (top_k(2), vec![x("N 10"), ints(&[1])], "axis 2"),
        (top_k(1), vec![x("N 10"), ints(&[1, 2])], "one number"),
        (
            Op::CumSum(CumSum { exclusive: false, reverse: false }),
            vec![x("N"), ints(&[1])],
            "axis 1",
        ),
        (Op::GatherElements { axis: 0 }, vec![x("N 10"), i("N")], "as many axes"),
        (Op::GatherElements { axis: 0 }, vec![x("N"), x("N")], "an integer"),
        (Op::GatherNd { batch_dims: 0 }, vec![x("8 9"), i("N 3")], "no positions"),
        (Op::GatherNd { batch_dims: 1 }, vec![x("8 9"), i("7 1")], "no positions"),
        (Op::GatherNd { batch_dims: usize::MAX }, vec![x("8 9"), i("7 1")], "no positions"),
        (scatter(), vec![x("8 9 4"), i("N 2"), x("N 5")], "updates must have"),
        (scatter(), vec![x("8 9 4"), i("N 2"), i("N 4")], "same element type"),
        (boxes(), vec![x("N B 4"), x("N C 3 B")], "expected boxes"),
        (grid(), vec![x("N C H W"), x("N 5 5 3")], "expected an input"),
        (roi(), vec![x("N C H W"), x("R 5"), i("R")], "regions [R, 4]"),
        (deform(1), vec![x("N 4 7 7"), x("6 4 3 3"), x("N 36 4 4")], "the offset"),
        (deform(usize::MAX), vec![x("N 4 7 7"), x("6 4 3 3"), x("N 36 4 4")], "too large"),
    ];
    for (op, inputs, words) in table {
        let outputs = if matches!(op, Op::TopK(_)) { 2 } else { 1 };
        let name = op.name();
        let error = shapes(op, &inputs, outputs).expect_err(words);
        assert!(error.contains(words), "{name}: {error}");
    }
}
