//! Our reader of Prometheus' text format forgives nothing.

use support::exposition::Page;

#[test]
fn a_page_that_keeps_the_rules_is_read() {
    let page = Page::parse(concat!(
        "# HELP a_total Help with \\\\ and\\nnew line.\n# TYPE a_total counter\n",
        "a_total{x=\"1\",y=\"a\\\"b\\\\\"} 1.5e3\na_total{x=\"}, \"} 0\n",
        "# HELP g Help.\n# TYPE g gauge\ng -2\n",
        "# HELP h Help.\n# TYPE h histogram\n",
        "h_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n",
    ));
    let page = page.expect("it keeps the rules");
    assert_eq!(page.families["a_total"].help, "Help with \\ and\nnew line.");
    assert_eq!(page.value("a_total", &[("y", "a\"b\\")]), 1500.0);
    assert_eq!(page.value("a_total", &[("x", "}, ")]), 0.0);
    assert_eq!(page.value("g", &[]), -2.0);
    assert_eq!(page.value("h_bucket", &[("le", "+Inf")]), 3.0);
    assert_eq!(page.all().count(), 7);
}

#[test]
fn each_broken_rule_is_noticed() {
    let gauge = "# HELP g Help.\n# TYPE g gauge\n";
    let histogram = "# HELP h Help.\n# TYPE h histogram\n";
    let broken = [
        ("", "no newline"),
        ("# HELP g Help.\n# TYPE g gauge\ng 1", "no newline"),
        ("g 1\n", "without a type"),
        ("# TYPE g gauge\ng 1\n", "no help"),
        ("# HELP g \n# HELP g Help.\n", "without a type before it"),
        ("# HELP g\n# TYPE g gauge\ng 1\n", "empty help"),
        ("# HELP g a\\tb\n", "escape"),
        ("# HELP g Help.\ng 1\n", "without a type"),
        ("# HELP g Help.\n# TYPE f gauge\n", "no help of this name"),
        ("# HELP g Help.\n# TYPE g thing\n", "type"),
        ("# HELP g_total Help.\n# TYPE g_total gauge\n", "end in _total"),
        ("# HELP g Help.\n# TYPE g counter\n", "end in _total"),
        ("# HELP g_total Help.\n# TYPE g_total counter\ng_total -1\n", "value"),
        (&format!("{gauge}g 1\n{gauge}g 2\n"), "a second type"),
        (&format!("{gauge}f 1\n"), "another family"),
        (&format!("{gauge}g 1\n\n"), "syntax"),
        (&format!("{gauge}g 1\ng 1\n"), "duplicate"),
        (&format!("{gauge}g{{a=\"1\",b=\"2\"}} 1\ng{{b=\"2\",a=\"1\"}} 1\n"), "duplicate"),
        (&format!("{gauge}g{{a=\"1\",a=\"2\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{1a=\"1\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a.b=\"1\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{__a=\"1\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"\\t\"}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"1\"}}1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"1\",}} 1\n"), "syntax"),
        (&format!("{gauge}g{{a=\"1}} 1\n"), "syntax"),
        (&format!("{gauge}g 1 1700000000000\n"), "syntax"),
        (&format!("{gauge}g NaN\n"), "syntax"),
        (&format!("{gauge}g 1e999\n"), "value"),
        (&format!("{gauge}g{{le=\"1\"}} 1\n"), "le belongs"),
        (gauge, "no samples"),
        (&format!("{histogram}h_sum 0\nh_count 0\n"), "no +Inf"),
        (&format!("{histogram}h_bucket{{le=\"1\"}} 0\nh_sum 0\nh_count 0\n"), "no +Inf"),
        (&format!("{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_sum 0\nh_count 2\n"), "cumulative"),
        (&format!("{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_count 1\n"), "buckets, sum, count"),
        (
            &format!(
                "{histogram}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 0\nh_count 1\n"
            ),
            "cumulative",
        ),
        (
            &format!(
                "{histogram}h_bucket{{le=\"+Inf\"}} 1\nh_bucket{{le=\"1\"}} 1\nh_sum 0\nh_count 1\n"
            ),
            "not in order",
        ),
    ];
    for (page, rule) in broken {
        let error = Page::parse(page).expect_err(page);
        assert!(error.contains(rule), "{page:?} should break {rule:?}: {error}");
    }
}
