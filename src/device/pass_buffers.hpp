#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime.hpp"
#include "tangram/model/network_passes.hpp"
#include "tangram/model/pass_back_end.hpp"
#include "tangram/parallel_for.hpp"

/// What a network's passes hold on a device.
namespace tangram::device {

/// A network's weights, every parameter as it is stored: matrices of 16 bits as they are, all else in the
/// passes' precision.
template <class Real>
class WeightsOnDevice {
  public:
    WeightsOnDevice(Runtime& runtime, const NetworkWeights<Real>& weights)
        : weights_(&weights), memory_(runtime, Memory::device) {
        const auto& parameters = weights.program().parameters();
        Layout layout;
        for (ParameterId p = 0; p < parameters.size(); ++p) {
            const DType stored = weights.matrix(p).type;
            types_.push_back(stays_stored(stored) ? stored : dtype_of<Real>);
            at_.push_back(layout.add(static_cast<std::size_t>(parameters[p].size() * bytes_of(types_[p]))));
        }
        label_ids_at_ = layout.add<Index>(std::ssize(weights.label_ids()));
        memory_.reserve(layout.bytes());
        Buffer staged(runtime, Memory::pinned);
        for (ParameterId p = 0; p < parameters.size(); ++p)
            for (Index first = 0; first < parameters[p].size(); first += entries_at_once) {
                const Index count = std::min(entries_at_once, parameters[p].size() - first);
                const auto bytes_before = static_cast<std::size_t>(first * bytes_of(types_[p])),
                           bytes = static_cast<std::size_t>(count * bytes_of(types_[p]));
                if (std::byte* const to = staged.reserve(bytes); stays_stored(types_[p]))
                    std::memcpy(to, weights.matrix(p).first + bytes_before, bytes);
                else
                    convert(weights.matrix(p), first, count, reinterpret_cast<Real*>(to));
                send(runtime, at_[p] + bytes_before, staged, bytes);
            }
        const std::vector<Index> ids(weights.label_ids().begin(), weights.label_ids().end());
        if (ids.empty()) return;
        std::memcpy(staged.reserve(ids.size() * sizeof(Index)), ids.data(), ids.size() * sizeof(Index));
        send(runtime, label_ids_at_, staged, ids.size() * sizeof(Index));
    }
    StoredMatrix matrix(ParameterId p) const {
        const StoredMatrix& stored = weights_->matrix(p);
        return {memory_.data() + at_[p], types_[p], stored.o_stride, stored.k_stride};
    }
    /// Of a vector.
    const Real* values(ParameterId p) const { return reinterpret_cast<const Real*>(memory_.data() + at_[p]); }
    const Index* label_ids() const { return reinterpret_cast<const Index*>(memory_.data() + label_ids_at_); }

  private:
    static constexpr Index entries_at_once = Index{1} << 24;

    static void convert(const StoredMatrix& from, Index first, Index count, Real* to) {
        constexpr Index part = Index{1} << 18;
        with_entries<Real>(from.type, [&](auto entry) {
            parallel_for((count + part - 1) / part, [&](Index i) {
                for (Index j = i * part; j < std::min(count, (i + 1) * part); ++j)
                    to[j] = entry(from.first, first + j);
            });
        });
    }
    void send(Runtime& runtime, std::size_t at, const Buffer& staged, std::size_t bytes) {
        runtime.copy(memory_.data() + at, staged.data(), bytes, Stream::products);
        runtime.wait(Stream::products);
    }

    const NetworkWeights<Real>* weights_;
    Buffer memory_;
    std::vector<std::size_t> at_;
    std::vector<DType> types_;
    std::size_t label_ids_at_ = 0;
};

/// What the kernels are told of a block of examples: one upload.
class BlockOnDevice {
  public:
    explicit BlockOnDevice(Runtime& runtime) : runtime_(&runtime) {}

    void send(const TokenBlock& block) {
        describe(block);
        Layout layout;
        places_at_ = {layout.add<RowPlace>(std::ssize(places_[0])),
                      layout.add<RowPlace>(std::ssize(places_[1]))};
        examples_at_ = layout.add<ExampleRows>(std::ssize(examples_));
        attention_at_ = {layout.add<AttentionExample>(std::ssize(attention_[0])),
                         layout.add<AttentionExample>(std::ssize(attention_[1]))};
        read_of_at_ = layout.add<Index>(std::ssize(read_of_));
        predicted_at_ = layout.add<Index>(std::ssize(block.predicted));
        staged_.reserve(layout.bytes());
        for (const std::size_t set : {0UL, 1UL}) {
            put(places_at_[set], places_[set]);
            put(attention_at_[set], attention_[set]);
        }
        put(examples_at_, examples_);
        put(read_of_at_, read_of_);
        put(predicted_at_, std::vector<Index>(block.predicted.begin(), block.predicted.end()));
        runtime_->copy(memory_.reserve(layout.bytes()), staged_.data(), layout.bytes(), Stream::products);
    }

    const RowPlace* places(RowSet set) const { return at<RowPlace>(places_at_[index(set)]); }
    const ExampleRows* examples() const { return at<ExampleRows>(examples_at_); }
    const AttentionExample* attention(RowSet queries) const {
        return at<AttentionExample>(attention_at_[index(queries)]);
    }
    /// The same on this machine.
    const std::vector<AttentionExample>& attention_here(RowSet queries) const {
        return attention_[index(queries)];
    }
    const Index* read_of() const { return at<Index>(read_of_at_); }
    const Index* predicted() const { return at<Index>(predicted_at_); }
    std::size_t bytes() const { return memory_.bytes() + staged_.bytes(); }

  private:
    static std::size_t index(RowSet set) { return set == RowSet::tokens ? 0 : 1; }
    template <class Entry>
    const Entry* at(std::size_t place) const {
        return reinterpret_cast<const Entry*>(memory_.data() + place);
    }
    template <class Entry>
    void put(std::size_t place, const std::vector<Entry>& entries) {
        if (!entries.empty())
            std::memcpy(staged_.data() + place, entries.data(), entries.size() * sizeof(Entry));
    }
    void describe(const TokenBlock& block) {
        for (const std::size_t set : {0UL, 1UL}) places_[set].clear(), attention_[set].clear();
        examples_.clear();
        read_of_.assign(block.token_ids.size(), -1);
        std::array<Index, 2> before{};
        for (Index e = 0; e < block.examples(); ++e) {
            const RowRange tokens = block.rows_of(RowSet::tokens, e), reads = block.rows_of(RowSet::reads, e);
            const Index first_read = block.reads[static_cast<std::size_t>(e)];
            examples_.push_back({{tokens.first, tokens.last}, {reads.first, reads.last}});
            for (const RowSet set : {RowSet::tokens, RowSet::reads}) {
                const std::size_t s = index(set);
                const RowRange rows = s == 0 ? tokens : reads;
                const Index first = s == 0 ? tokens.first : first_read;
                for (Index r = 0; r < rows.size(); ++r)
                    places_[s].push_back({first + r, block.token_ids[static_cast<std::size_t>(first + r)],
                                          first + r - tokens.first, e, tokens.size()});
                attention_[s].push_back(
                    {rows.first, tokens.first, rows.size(), tokens.size(), first - tokens.first, before[s]});
                before[s] += rows.size() * tokens.size();
            }
            for (Index r = 0; r < reads.size(); ++r)
                read_of_[static_cast<std::size_t>(first_read + r)] = reads.first + r;
        }
    }

    Runtime* runtime_;
    Buffer memory_{*runtime_, Memory::device}, staged_{*runtime_, Memory::pinned};
    std::array<std::vector<RowPlace>, 2> places_;  // tokens, reads
    std::array<std::vector<AttentionExample>, 2> attention_;
    std::vector<ExampleRows> examples_;
    std::vector<Index> read_of_;
    std::array<std::size_t, 2> places_at_{}, attention_at_{};
    std::size_t examples_at_ = 0, read_of_at_ = 0, predicted_at_ = 0;
};

/// Rotary tables of all operations, one for those of equal angles.
template <class Real>
class RotaryOnDevice {
  public:
    struct Tables {
        const Real *cosines, *sines;
    };
    explicit RotaryOnDevice(Runtime& runtime) : runtime_(&runtime) {}

    /// Those of every operation for positions below `longest`.
    void prepare(const Program& program, Index longest) {
        if (longest <= longest_) return;
        angles_.clear();
        places_.clear();
        std::vector<Real> all;
        for (const Operation& operation : program.operations())
            if (const auto* const op = std::get_if<operation::Rotary>(&operation))
                if (std::ranges::find(angles_, op->angles) == angles_.end()) {
                    std::vector<Real> cosines, sines;
                    operations::fill_rotary_tables(op->angles, longest, cosines, sines);
                    angles_.push_back(op->angles);
                    places_.emplace_back(all.size(), all.size() + cosines.size());
                    all.insert(all.end(), cosines.begin(), cosines.end());
                    all.insert(all.end(), sines.begin(), sines.end());
                }
        longest_ = longest;
        if (all.empty()) return;
        std::memcpy(staged_.reserve(all.size() * sizeof(Real)), all.data(), all.size() * sizeof(Real));
        runtime_->copy(memory_.reserve(all.size() * sizeof(Real)), staged_.data(), all.size() * sizeof(Real),
                       Stream::products);
    }
    Tables tables(const RotaryAngles& angles) const {
        const auto i = static_cast<std::size_t>(std::ranges::find(angles_, angles) - angles_.begin());
        const auto* const first = reinterpret_cast<const Real*>(memory_.data());
        return {first + places_[i].first, first + places_[i].second};
    }
    std::size_t bytes() const { return memory_.bytes() + staged_.bytes(); }

  private:
    Runtime* runtime_;
    Buffer memory_{*runtime_, Memory::device}, staged_{*runtime_, Memory::pinned};
    std::vector<RotaryAngles> angles_;
    std::vector<std::pair<std::size_t, std::size_t>> places_;
    Index longest_ = 0;
};

/// Rows of activations, or of gradients, on the device; copied to this machine when they are asked for.
template <class Real>
class RowsOnDevice {
  public:
    RowsOnDevice(Runtime& runtime, std::size_t values)
        : runtime_(&runtime), memory_(runtime, Memory::device), at_(values), entries_(values, 0) {
        for (std::size_t v = 0; v < values; ++v) copies_.emplace_back(runtime, Memory::pinned);
        copied_.assign(values, false);
    }
    /// Room for so many entries of each; what was there is lost.
    /// @param further  bytes behind them, from further() on
    void make_room(const std::vector<Index>& entries, std::size_t further = 0) {
        Layout layout;
        for (std::size_t v = 0; v < entries.size(); ++v) at_[v] = layout.add<Real>(entries[v]);
        further_ = layout.bytes();
        memory_.reserve(layout.bytes() + further);
        entries_ = entries;
        copied_.assign(copied_.size(), false);
    }
    Real* rows(Value value) const { return reinterpret_cast<Real*>(memory_.data() + at_[value.id]); }
    std::byte* further() const { return memory_.data() + further_; }
    const Real* here(Value value) {
        const std::size_t v = value.id, bytes = static_cast<std::size_t>(entries_[v]) * sizeof(Real);
        if (!copied_[v] && bytes > 0) {
            runtime_->copy(copies_[v].reserve(bytes), memory_.data() + at_[v], bytes, Stream::products);
            runtime_->wait(Stream::products);
        }
        copied_[v] = true;
        return reinterpret_cast<const Real*>(copies_[v].data());
    }
    std::size_t bytes() const {
        std::size_t sum = memory_.bytes();
        for (const Buffer& copy : copies_) sum += copy.bytes();
        return sum;
    }

  private:
    Runtime* runtime_;
    Buffer memory_;
    std::size_t further_ = 0;
    std::vector<std::size_t> at_;
    std::vector<Index> entries_;
    std::vector<Buffer> copies_;
    std::vector<bool> copied_;
};

}  // namespace tangram::device
