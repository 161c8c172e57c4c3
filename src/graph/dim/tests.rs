//! Arithmetic of sizes.

use super::*;

fn h() -> Dim {
    Dim::symbol("H")
}

fn n(value: i64) -> Dim {
    value.into()
}

/// `(H + add) / by`, rounded down.
fn part(add: i64, by: i64) -> Dim {
    (&h() + &n(add)).floor_div(&n(by))
}

#[test]
fn equal_sizes_are_structurally_equal() {
    let batch = Dim::symbol("N");
    let total = &batch * &n(256);
    assert_eq!(total.div_exact(&n(64)).unwrap(), &batch * &n(4));
    assert_eq!(total.div_exact(&batch).unwrap(), n(256));
    assert_eq!(&(&batch + &n(3)) - &n(3), batch);
    assert_eq!((&batch - &batch).as_const(), Some(0));
    assert_eq!(total.div_exact(&n(3)), None);
    assert_eq!(total.div_exact(&n(0)), None);
}

#[test]
fn polynomials_divide_by_polynomials() {
    let (a, b) = (&h() + &n(1), &Dim::symbol("W") - &n(2));
    let product = &(&a * &b) * &n(6);
    assert_eq!(product.div_exact(&(&a * &n(2))).unwrap(), &b * &n(3));
    assert_eq!(product.div_exact(&b).unwrap(), &a * &n(6));
    assert_eq!(product.div_exact(&(&a * &a)), None);
    assert_eq!((&product + &n(1)).div_exact(&a), None);
}

#[test]
fn what_cannot_be_divided_is_divided_at_run_time() {
    let half = &part(-1, 2) + &n(1);
    let bindings = Bindings::from([("H".into(), 225)]);
    assert_eq!(half.evaluate(&bindings).unwrap(), 113);
    assert_eq!(half.to_string(), "floor((H+1)/2)");
    assert!(half.evaluate(&Bindings::new()).is_err());
    assert_eq!(Dim::from(-7).floor_div(&n(2)).as_const(), Some(-4));
}

#[test]
fn quotients_have_one_form() {
    let table = [
        // A 3x3 convolution with stride 2 and a 1x1 one beside it.
        (&part(2 - 3, 2) + &n(1), part(1, 2)),
        ((&part(1, 2) + &n(1)).floor_div(&n(2)), part(3, 4)),
        ((&h() * &n(2)).floor_div(&n(4)), part(0, 2)),
        ((&(&h() * &n(2)) + &n(3)).floor_div(&n(4)), part(1, 2)),
        ((&(&h() * &n(2)) + &n(1)).floor_div(&n(2)), h()),
        ((&(&h() * &n(-1)) + &n(4)).floor_div(&n(2)), &(&h() * &n(-1)).floor_div(&n(2)) + &n(2)),
    ];
    for (i, (found, expected)) in table.iter().enumerate() {
        assert_eq!(found, expected, "row {i}");
    }
}

#[test]
fn quotients_are_right() {
    for value in 1..40i64 {
        let bindings = Bindings::from([("H".into(), value as usize)]);
        for factor in -5..=5 {
            for add in -7..=7 {
                for by in [-3, -1, 1, 2, 3, 4, 6] {
                    let dividend = &(&h() * &n(factor)) + &n(add);
                    let again = &dividend.floor_div(&n(by)) + &n(add);
                    let found = again.floor_div(&n(2)).evaluate(&bindings).unwrap();
                    let expected = floor_div(floor_div(factor * value + add, by) + add, 2);
                    assert_eq!(found, expected, "{factor} * {value} + {add} by {by}");
                }
            }
        }
    }
}

#[test]
fn extremes_that_are_certain_are_taken() {
    let table = [
        (h().maximum(&n(1)), h()),
        ((&h() - &n(1)).maximum(&n(0)), &h() - &n(1)),
        (h().minimum(&n(0)), n(0)),
        (h().minimum(&(&h() + &n(2))), h()),
        (h().minimum(&n(5)).minimum(&n(7)), h().minimum(&n(5))),
        (h().minimum(&n(5)), n(5).minimum(&h())),
        (h().minimum(&n(5)).maximum(&n(5)), n(5)),
        (h().maximum(&Dim::symbol("W")).minimum(&h()), h()),
        (h().maximum(&Dim::symbol("W")).maximum(&h()), Dim::symbol("W").maximum(&h())),
    ];
    for (i, (found, expected)) in table.iter().enumerate() {
        assert_eq!(found, expected, "row {i}");
    }
    assert_eq!(h().minimum(&n(5)).to_string(), "min(5, H)");
    let bindings = Bindings::from([("H".into(), 3)]);
    assert_eq!(h().minimum(&n(5)).evaluate(&bindings).unwrap(), 3);
    assert_eq!(h().maximum(&n(5)).evaluate(&bindings).unwrap(), 5);
}

#[test]
fn bounds_hold_for_every_size_of_at_least_one() {
    assert_eq!((&(&h() * &n(3)) - &n(2)).bounds(), (Some(1), None));
    assert_eq!((&n(2) - &h()).bounds(), (None, Some(1)));
    assert_eq!(part(1, 2).bounds(), (Some(1), None));
    assert_eq!(h().minimum(&n(5)).bounds(), (Some(1), Some(5)));
}

#[test]
fn arithmetic_stops_before_it_explodes() {
    assert_eq!(n(i64::MAX).checked_add(&n(1)), None);
    assert_eq!(n(i64::MIN).checked_mul(&n(-1)), None);
    let mut power = &h() + &n(1);
    for _ in 0..60 {
        power = power.checked_mul(&power).unwrap_or_else(h);
    }
    let sum = |i: usize| &Dim::symbol(&format!("s{i}")) + &n(1);
    let all: Vec<Dim> = (0..20).map(sum).collect();
    assert_eq!(Dim::product(&all), None);
    assert!((&n(i64::MAX) * &n(2)).evaluate(&Bindings::new()).is_err());
}

#[test]
fn names_and_numbers_print_as_written() {
    assert_eq!(Dim::symbol("batch").to_string(), "batch");
    assert_eq!(Dim::symbol("batch").as_symbol(), Some("batch"));
    assert_eq!(n(0).to_string(), "0");
    assert_eq!((&Dim::symbol("N") * &n(3)).to_string(), "3*N");
}
