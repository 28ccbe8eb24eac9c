#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "tangram/index.hpp"
#include "tangram/reading.hpp"

namespace tangram {

/// The kinds that partition the stored tensors (docs/mathematics.md, Outputs and targets).
enum class ParameterKind { attention, mlp, norm, embedding, head };

/// "attention", "mlp", "norm", "embedding" or "head".
std::string name(ParameterKind kind);

/// One named tensor of a model, as the weights file stores it.
struct Parameter {
    std::string name;
    std::vector<Index>
        shape;  ///< [d_out, d_in] of a linear layer, [d] of a bias or norm, [rows, d] of a table
    ParameterKind kind;
    bool transposed = false;  ///< the file holds [d_in, d_out] (GPT-2's Conv1D); everything here has `shape`
    /// Half-open ranges of entries whose gradient is identically zero: key biases where softmax does not see
    /// them.
    std::vector<std::pair<Index, Index>> idle = {};
    bool drawn_as_zeros = false;  ///< a norm's weight that is counted from one

    Index size() const;  ///< number of entries
};

using ParameterId = std::size_t;  ///< position in Program::parameters

/// One matrix of activations: a row per token of the block of examples, or one per example.
struct Value {
    std::size_t id;  ///< position in Program::values
};

enum class RowSet {
    tokens,  ///< every token of every example, concatenated without padding
    reads,   ///< per example only the token at which the outputs are read
};

struct ValueShape {
    RowSet rows;
    Index width;
};

enum class Activation { silu, gelu, gelu_new, quick_gelu, relu, tanh };

/// How fast the pairs of entries of a head turn, in radians per position, and by what they are multiplied.
struct RotaryAngles {
    std::vector<double> frequencies;
    double factor = 1;
    /// In texts of more than `longest` tokens, where there are any, these frequencies take their place.
    std::vector<double> long_frequencies = {};
    Index longest = 0;

    bool operator==(const RotaryAngles&) const = default;
};

/// The differentiable operations that architectures are composed of. Widths follow from the parameters.
namespace operation {

/// out_t = table[token_t]
struct Embedding {
    ParameterId table;
    Value out;
};
/// out_t = in_t + table[position of t in its example + offset]
struct Positions {
    Value in;
    ParameterId table;
    Index offset;
    Value out;
};
/// out_t = in_t + table[0]: every token is of type 0
struct TokenType {
    Value in;
    ParameterId table;
    Value out;
};
/// out = in W^T + b
struct Linear {
    Value in;
    ParameterId weight;
    std::optional<ParameterId> bias;
    Value out;
};
/// out = w (x - mean) / sqrt(variance + epsilon) + b, over the row (Ba, Kiros, Hinton 2016)
struct LayerNorm {
    Value in;
    ParameterId weight;
    std::optional<ParameterId> bias;
    double epsilon;
    Value out;
};
/// out = (w + shift) x / sqrt(mean(x^2) + epsilon), over the row (Zhang, Sennrich 2019), or over each of the
/// heads, as wide as w, that a row consists of
struct RmsNorm {
    Value in;
    ParameterId weight;
    double epsilon;
    double shift;
    Value out;
};
/// Rotary positions, rotate-half form: entries i and i + h of each head, i < h the number of frequencies,
/// turn by position * frequency i and are multiplied by a factor; those from 2 h on stay (Su et al. 2021, as
/// Hugging Face stores it).
struct Rotary {
    Value in;
    Index head_size;
    RotaryAngles angles;
    Value out;
};
/// out = softmax(scale q k^T + mask) v per head; query head h uses key/value head h / (heads / kv_heads).
/// Causal: a token sees itself and those before it, with a window w the w latest of them; else it sees all,
/// with a window w those up to w places away. With a cap c, scores s become c tanh(s / c) before the mask.
/// Queries may be the read tokens only.
struct Attention {
    Value query, key, value;
    Index heads, key_value_heads, head_size;
    double scale;
    std::optional<Index> window;
    Value out = {};
    bool causal = true;
    std::optional<double> cap = {};
};
/// Columns of a value: out's column r width + i is in's column first + r stride + i, r < runs, i < width.
struct Columns {
    Value in;
    Index first, width, stride, runs;
    Value out;
};
struct Activate {
    Value in;
    Activation function;
    Value out;
};
/// out = a * b, entry by entry
struct Multiply {
    Value a, b;
    Value out;
};
/// out = a + factor b
struct Add {
    Value a, b;
    double factor;
    Value out;
};
/// out = factor in
struct Scale {
    Value in;
    double factor;
    Value out;
};
/// out = the rows of `in` at which the outputs are read
struct AtReads {
    Value in;
    Value out;
};
/// out = the mean of an example's rows, summed in their order: one row per example
struct TokenMean {
    Value in;
    Value out;
};
/// The last operation: logits of the label words, in table[label id]^T + bias[label id], per example; with a
/// cap c, a logit z is c tanh(z / c).
struct LabelLogits {
    Value in;  ///< rows: reads
    ParameterId table;
    std::optional<ParameterId> bias;
    std::optional<double> cap;
};
/// The last operation in its place where answers are scored: for each example the sum over the rows at which
/// it is read of log softmax(in table^T) at the token that the row predicts, or the mean; with a cap as
/// LabelLogits has it.
struct AnswerLikelihood {
    Value in;  ///< rows: reads
    ParameterId table;
    bool mean;
    std::optional<double> cap = {};
};

}  // namespace operation

using Operation = std::variant<operation::Embedding, operation::Positions, operation::TokenType,
                               operation::Linear, operation::LayerNorm, operation::RmsNorm, operation::Rotary,
                               operation::Columns, operation::Attention, operation::Activate,
                               operation::Multiply, operation::Add, operation::Scale, operation::AtReads,
                               operation::TokenMean, operation::LabelLogits, operation::AnswerLikelihood>;

/// The values that an operation reads, in the order of its members; one that it reads twice stands twice.
/// Backward passes, LoRA and shortened programs know an operation's values from here and output_of() alone.
std::vector<Value*> inputs_of(Operation& operation);
std::vector<Value> inputs_of(const Operation& operation);
/// The value that an operation writes; the last one, which makes the outputs, writes none.
std::optional<Value> output_of(const Operation& operation);

/// An architecture with its sizes filled in: parameters, activations and the operations in forward order.
/// An architecture file calls the functions below in the order of its forward pass and nothing else; the
/// backward pass follows from the operations. Everything that adds an operation throws Error(input), naming
/// the tensor (or the operation's input), the shape that it expects and the one that it found, where they
/// differ.
class Program {
  public:
    ParameterId parameter(std::string name, std::vector<Index> shape, ParameterKind kind);
    /// A linear weight that the file holds as [d_in, d_out].
    ParameterId transposed_parameter(std::string name, std::vector<Index> shape, ParameterKind kind);
    /// Entries [first, last) of a bias have a gradient that is identically zero.
    void idle(ParameterId parameter, Index first, Index last);
    /// A norm's weight to which one is added: where weights are drawn, it is zero.
    void drawn_as_zeros(ParameterId parameter) { parameters_[parameter].drawn_as_zeros = true; }
    /// A file may hold a second copy of a parameter under this name, which must be equal.
    void copy_of(std::string name, ParameterId parameter);

    Value embedding(ParameterId table);
    Value positions(Value in, ParameterId table, Index offset = 0);
    Value token_type(Value in, ParameterId table);
    Value linear(Value in, ParameterId weight, std::optional<ParameterId> bias = std::nullopt);
    Value layer_norm(Value in, ParameterId weight, std::optional<ParameterId> bias, double epsilon);
    Value rms_norm(Value in, ParameterId weight, double epsilon, double shift = 0.0);
    Value rotary(Value in, Index head_size, RotaryAngles angles);
    Value columns(Value in, Index first, Index width, Index stride, Index runs);
    /// The operation's `out` is filled in.
    Value attention(operation::Attention attention);
    Value activate(Value in, Activation function);
    Value multiply(Value a, Value b);
    Value add(Value a, Value b, double factor = 1.0);
    Value scale(Value in, double factor);
    Value at_reads(Value in);
    Value token_mean(Value in);
    void label_logits(Value in, ParameterId table, std::optional<ParameterId> bias = std::nullopt,
                      std::optional<double> cap = std::nullopt);

    /// A head of its own that was composed before its labels were known, a classifier's: the rows of its
    /// weight and the entries of its bias.
    void set_labels(Index labels);

    /// Log-likelihoods of whole answers, or their means over tokens, in place of the label words' logits.
    /// @throws Error(study) naming data.score for a head that is no causal language model's
    void score_answers(bool mean);

    /// Parameters and values without the operations, which append() then adds as they are.
    Program without_operations() const;
    void append(Operation operation);

    const std::vector<Parameter>& parameters() const noexcept { return parameters_; }
    /// Names of second copies, each with its parameter.
    const std::vector<std::pair<std::string, ParameterId>>& copies() const noexcept { return copies_; }
    const std::vector<ValueShape>& values() const noexcept { return values_; }
    const std::vector<Operation>& operations() const noexcept { return operations_; }
    const ValueShape& shape(Value value) const { return values_[value.id]; }

    Index vocabulary_size = 0;  ///< token ids are 0 .. vocabulary_size - 1
    Index maximum_length = 0;   ///< tokens that the model has positions for
    Reading reading = Reading::last_token;
    std::optional<std::int32_t>
        padding_id;  ///< a token that the model's positions pass over: no text may hold it

  private:
    template <class AnOperation>
    Value append_with_output(AnOperation operation);

    std::vector<Parameter> parameters_;
    std::vector<std::pair<std::string, ParameterId>> copies_;
    std::vector<ValueShape> values_;
    std::vector<Operation> operations_;
};

}  // namespace tangram
