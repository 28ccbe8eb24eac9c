#include "tangram/model/program.hpp"

#include <gtest/gtest.h>

#include "support/expect_error.hpp"

namespace tangram {
namespace {

using testing::expect_error;

/// A program of ten tokens, five of them in a text at most, with activations of six columns.
class Shapes : public ::testing::Test {
  protected:
    Shapes() {
        program_.vocabulary_size = 10;
        program_.maximum_length = 5;
        tokens_ = program_.embedding(tensor("table", {10, 6}));
        reads_ = program_.at_reads(tokens_);
        wide_ = program_.linear(tokens_, tensor("wide", {12, 6}));
    }
    ParameterId tensor(const char* name, std::vector<Index> shape) {
        return program_.parameter(name, std::move(shape), ParameterKind::mlp);
    }
    /// The operation is refused by those names, and nothing of it stays.
    template <class Add>
    void refused(std::initializer_list<std::string> names, Add add) {
        const std::size_t values = program_.values().size(), operations = program_.operations().size();
        expect_error(ExitStatus::input, ErrorKind::contradiction, names, add);
        EXPECT_EQ(program_.values().size(), values);
        EXPECT_EQ(program_.operations().size(), operations);
    }

    Program program_;
    Value tokens_{}, reads_{}, wide_{};
};

TEST_F(Shapes, OfTablesAreThoseOfTheirRows) {
    refused({"embedding", "short", "at least 10 rows", "found 9"}, [&] {
        program_.embedding(tensor("short", {9, 6}));
    });
    refused({"embedding", "flat", "[any, any]", "found [60]"},
            [&] { program_.embedding(tensor("flat", {60})); });
    refused({"positions", "narrow", "[any, 6]", "found [5, 5]"}, [&] {
        program_.positions(tokens_, tensor("narrow", {5, 5}));
    });
    refused({"positions", "early", "at least 7 rows", "found 6"}, [&] {
        program_.positions(tokens_, tensor("early", {6, 6}), 2);
    });
    refused({"positions", "offset", "found -1"}, [&] {
        program_.positions(tokens_, tensor("before", {6, 6}), -1);
    });
    refused({"token type", "types", "[any, 6]", "found [2, 7]"}, [&] {
        program_.token_type(tokens_, tensor("types", {2, 7}));
    });
    program_.token_type(program_.positions(tokens_, tensor("positions", {7, 6}), 2), tensor("one", {1, 6}));
}

TEST_F(Shapes, OfLinearLayersAreThoseOfTheirInputAndBias) {
    refused({"linear", "turned", "[any, 6]", "found [6, 12]"}, [&] {
        program_.linear(tokens_, tensor("turned", {6, 12}));
    });
    refused({"linear", "flat", "found [6]"}, [&] { program_.linear(tokens_, tensor("flat", {6})); });
    refused({"linear", "bias", "[4]", "found [6]"}, [&] {
        program_.linear(tokens_, tensor("good", {4, 6}), tensor("bias", {6}));
    });
    refused({"linear", "parameter 99"}, [&] { program_.linear(tokens_, 99); });
    refused({"linear", "value 99"}, [&] { program_.linear(Value{99}, tensor("other", {4, 6})); });
}

TEST_F(Shapes, OfNormsAreThoseOfTheirInput) {
    const ParameterId narrow = tensor("narrow", {5}), good = tensor("good", {6});
    refused({"layer norm", "narrow", "[6]", "found [5]"},
            [&] { program_.layer_norm(tokens_, narrow, good, 1e-5); });
    refused({"layer norm", "narrow", "[6]", "found [5]"},
            [&] { program_.layer_norm(tokens_, good, narrow, 1e-5); });
    refused({"RMS norm", "narrow", "[6]", "found [5]"}, [&] { program_.rms_norm(tokens_, narrow, 1e-5); });
    refused({"RMS norm", "matrix", "[any]", "found [6, 1]"}, [&] {
        program_.rms_norm(tokens_, tensor("matrix", {6, 1}), 1e-5);
    });
}

TEST_F(Shapes, OfHeadsAreWhole) {
    refused({"rotary", "heads of 4", "found 6"}, [&] { program_.rotary(tokens_, 4, {{1.0}}); });
    refused({"rotary", "at most 1 frequencies", "found 2"}, [&] {
        program_.rotary(tokens_, 3, {{1.0, 0.5}});
    });
    const Value q = program_.linear(tokens_, tensor("q", {12, 6})), kv = tokens_;
    refused({"attention", "found 4 heads for 3"}, [&] {
        program_.attention({q, kv, kv, 4, 3, 3, 1.0, std::nullopt});
    });
    refused({"attention", "(query)", "15 columns", "found 12"}, [&] {
        program_.attention({q, kv, kv, 5, 1, 3, 1.0, std::nullopt});
    });
    refused({"attention", "(key)", "6 columns", "found 12"}, [&] {
        program_.attention({q, q, kv, 4, 2, 3, 1.0, std::nullopt});
    });
    refused({"attention", "(value)", "6 columns", "found 12"}, [&] {
        program_.attention({q, kv, q, 4, 2, 3, 1.0, std::nullopt});
    });
    refused({"attention", "(key)", "rows of tokens", "found 6 and reads"}, [&] {
        program_.attention({q, reads_, kv, 4, 2, 3, 1.0, std::nullopt});
    });
    refused({"rotary", "1 frequencies for long texts", "found 2"}, [&] {
        program_.rotary(tokens_, 3, {{1.0}, 1.0, {1.0, 0.5}});
    });
    refused({"attention", "cap", "found 0"}, [&] {
        program_.attention({q, kv, kv, 4, 2, 3, 1.0, std::nullopt, {}, true, 0.0});
    });
    refused({"attention", "window", "found 0"}, [&] {
        program_.attention({q, kv, kv, 4, 2, 3, 1.0, Index{0}});
    });
    program_.attention({q, kv, kv, 4, 2, 3, 1.0, Index{1}});
}

TEST_F(Shapes, OfWhatIsTakenTogetherAreEqual) {
    refused({"add", "6 columns", "found 12"}, [&] { program_.add(tokens_, wide_); });
    refused({"add", "rows of tokens", "found 6 and reads"}, [&] { program_.add(tokens_, reads_); });
    refused({"multiply", "6 columns", "found 12"}, [&] { program_.multiply(tokens_, wide_); });
    refused({"columns", "at least 13", "found 12"}, [&] { program_.columns(wide_, 1, 4, 4, 3); });
    refused({"columns", "0 columns"}, [&] { program_.columns(wide_, 1, 0, 4, 3); });
    refused({"read", "rows of tokens", "found 6 and reads"}, [&] { program_.at_reads(reads_); });
    refused({"mean", "rows of tokens", "found 6 and reads"}, [&] { program_.token_mean(reads_); });
    refused({"activation", "value 99"}, [&] { program_.activate(Value{99}, Activation::relu); });
    EXPECT_EQ(program_.shape(program_.columns(wide_, 0, 4, 4, 3)).width, 12);
}

TEST_F(Shapes, OfLabelsAreThoseOfTheTokensThatAreRead) {
    refused({"label logits", "rows of reads", "found 6 and tokens"}, [&] {
        program_.label_logits(tokens_, tensor("head", {10, 6}));
    });
    refused({"label logits", "narrow", "[any, 6]", "found [10, 5]"}, [&] {
        program_.label_logits(reads_, tensor("narrow", {10, 5}));
    });
    refused({"label logits", "bias", "[10]", "found [9]"}, [&] {
        program_.label_logits(reads_, tensor("good", {10, 6}), tensor("bias", {9}));
    });
    refused({"label logits", "cap", "found -1"}, [&] {
        program_.label_logits(reads_, tensor("capped", {10, 6}), std::nullopt, -1.0);
    });
}

TEST_F(Shapes, OfAnOperationThatIsAppendedAreThoseThatItWrites) {
    const ParameterId weight = tensor("weight", {12, 6});
    refused({"output", "12 columns", "found 6"}, [&] {
        program_.append(operation::Linear{tokens_, weight, std::nullopt, tokens_});
    });
    program_.append(operation::Linear{tokens_, weight, std::nullopt, wide_});
}

}  // namespace
}  // namespace tangram
