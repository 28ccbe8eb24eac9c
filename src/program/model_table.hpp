#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/rates/exponents.hpp"
#include "tangram/rates/paired_comparison.hpp"

namespace tangram {

/// What a run does on its test set at T, example by example.
struct TestedRun {
    std::string draw;                 ///< data.seed
    std::string target;               ///< kernel.output: errors of other targets are not compared
    std::vector<Index> rows, labels;  ///< of the test set: who was asked what
    std::vector<Index> tasks;         ///< whose table rows are of; empty: of one
    Judgement at_stop;                ///< empty where there is no test set or no T
};
/// Local. @throws Error(output) for a file whose parts do not go together
TestedRun read_tested_run(const Hdf5File& h5, const std::string& draw);

/// A model (or a choice of its parameters) with its runs at every size.
struct ComparedModel {
    std::string name;
    std::map<Index, std::vector<TestedRun>> runs;  ///< by training examples
    RateExponent exponent;                         ///< of the observed error
};

/// A model against the one whose error is least, on the same test examples.
struct ModelRow {
    std::string name;
    Index examples = 0, test_examples = 0, draws = 0;
    double mse = 0, standard_error = 0;  ///< at T: of the examples' means over the draws, over the examples
    double accuracy = 0;                 ///< over examples and draws; NaN where labels are no classes
    PairedComparison behind_best{};      ///< error_fall: how much less the best errs; NaN of the best itself
    RateExponent exponent;
};

/// What models do at the largest size that all of them have, the least error first; paired by test example,
/// of which each counts once, with its mean over the draws that all have. Empty with fewer than two models,
/// or where test sets or targets differ: then `why`, a sentence. Local.
std::vector<ModelRow> compare_models(const std::vector<ComparedModel>& models, std::string& why);

/// The rows as a table and a sentence, for a reader. Local.
std::string models_text(const std::vector<ModelRow>& rows);
void write_models(Hdf5File& h5, const std::vector<ModelRow>& rows);

}  // namespace tangram
