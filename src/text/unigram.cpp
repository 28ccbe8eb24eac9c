#include "unigram.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

#include "utf8.hpp"

namespace tangram {

namespace {

/// 10^exponent, rounded once.
double power_of_ten(int exponent) {
    const std::string text = fmt::format("1e{}", exponent);
    double power = 0;
    std::from_chars(text.data(), text.data() + text.size(), power);
    return power;
}

/// A score as Hugging Face's library reads it. Its JSON reader (Rust's serde_json without float_roundtrip)
/// takes all digits as one integer and divides it by a power of ten; where there are 17 digits that rounds
/// twice. Spellings whose sums would be equal are told apart by it.
double read_score(double score) {
    std::array<char, 32> text;
    const auto [end, error] =
        std::to_chars(text.data(), text.data() + text.size(), score, std::chars_format::scientific);
    const std::string_view written(text.data(), static_cast<std::size_t>(end - text.data()));
    const std::size_t e = written.find('e');
    std::uint64_t digits = 0;
    int exponent = 1;
    std::from_chars(written.data() + e + (written[e + 1] == '+' ? 2 : 1), end, exponent);
    bool fraction = false;
    for (const char c : written.substr(0, e)) {
        if (c >= '0' && c <= '9') {
            digits = 10 * digits + static_cast<std::uint64_t>(c - '0');
            if (fraction) --exponent;
        }
        fraction = fraction || c == '.';
    }
    constexpr int largest = std::numeric_limits<double>::max_exponent10;
    if (std::abs(exponent) > largest) return score;
    const double whole = static_cast<double>(digits), power = power_of_ten(std::abs(exponent));
    const double size = exponent < 0 ? whole / power : whole * power;
    return score < 0 ? -size : size;
}

void refuse_other_keys(const JsonPart& model) {
    for (const auto& [key, value] : model.json.items()) {
        const bool read = key == "type" || key == "vocab" || key == "unk_id" || key == "byte_fallback";
        const bool always = key == "fuse_unk" && value == true;
        if (!read && !always && !value.is_null())
            model.refuse(ErrorKind::unsupported,
                         fmt::format("model: \"{}\" of a Unigram model is not supported; take the tokenizer "
                                     "as it was published",
                                     key));
    }
}

}  // namespace

Unigram::Unigram(const JsonPart& model) : file_(model.file) {
    refuse_other_keys(model);
    read_tokens(model);
    link_tokens();
    if (model.has("unk_id")) {
        unknown_ = JsonPart{model.json["unk_id"], model.file, "model: \"unk_id\""}.id();
        if (*unknown_ >= std::ssize(scores_))
            model.refuse(
                ErrorKind::out_of_range,
                fmt::format("model: \"unk_id\" = {}, but there are {} tokens", *unknown_, scores_.size()));
    }
    constexpr double penalty = 10;
    if (!scores_.empty()) unknown_score_ = *std::ranges::min_element(scores_) - penalty;
    if (!model.flag("byte_fallback", false)) return;
    for (std::size_t b = 0; b < 256; ++b) bytes_[b] = find(vocabulary_, fmt::format("<0x{:02X}>", b));
}

void Unigram::read_tokens(const JsonPart& model) {
    for (const auto& entry : model.list("vocab")) {
        const std::size_t id = scores_.size();
        if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
            model.refuse(ErrorKind::malformed,
                         fmt::format("model: vocab[{}] is not a token and its score", id));
        const auto& token = entry[0].get_ref<const std::string&>();
        if (!vocabulary_.emplace(token, static_cast<std::int32_t>(id)).second)
            model.refuse(ErrorKind::unsupported,
                         fmt::format("model: vocab[{}]: \"{}\" is there twice", id, token));
        // Python writes NaN and Infinity, which Hugging Face's library does not read.
        if (!std::isfinite(entry[1].get<double>()))
            model.refuse(
                ErrorKind::out_of_range,
                fmt::format("model: vocab[{}]: the score of \"{}\" is not finite; take the tokenizer "
                            "as it was published",
                            id, token));
        scores_.push_back(read_score(entry[1].get<double>()));
        sizes_.push_back(std::ssize(token));
    }
}

void Unigram::link_tokens() {
    std::vector<LongestStarts::Entry> tokens;
    for (const auto& [token, id] : vocabulary_)
        if (!token.empty()) tokens.emplace_back(token, id);
    tokens_ = LongestStarts(tokens);
    // In alphabetical order a token follows those that begin it, and what stands between begins with the last
    // of them.
    std::ranges::sort(tokens);
    shorter_.assign(scores_.size(), -1);
    std::vector<LongestStarts::Entry> begun;
    for (const auto& token : tokens) {
        while (!begun.empty() && !token.first.starts_with(begun.back().first)) begun.pop_back();
        if (!begun.empty()) shorter_[static_cast<std::size_t>(token.second)] = begun.back().second;
        begun.push_back(token);
    }
}

/// Of the beginning of each size, in bytes.
std::vector<Unigram::Spelling> Unigram::spellings(const NormalizedText& word) const {
    std::vector<Spelling> best(static_cast<std::size_t>(word.size()) + 1);
    const auto consider = [&](Index first, Index last, std::optional<std::int32_t> token, double score) {
        Spelling& there = best[static_cast<std::size_t>(last)];
        const double sum = score + best[static_cast<std::size_t>(first)].score;
        if (there.first >= 0 && !(sum > there.score)) return;
        if (!token)
            throw Error(ExitStatus::input, ErrorKind::missing,
                        fmt::format("{}: no token spells \"{}\" and the model has no \"unk_id\"; take the "
                                    "tokenizer as it was published",
                                    file_, word.text({first, last})));
        there = {sum, first, *token};
    };
    const std::vector<std::int32_t> longest = tokens_.find(word.text());
    for (Index first = 0, next = 0; first < word.size(); first = next) {
        next_code_point(word.text(), next);
        bool alone = false;  // the character is a token
        for (std::int32_t id = longest[static_cast<std::size_t>(first)]; id >= 0;) {
            const auto token = static_cast<std::size_t>(id);
            const Index last = first + sizes_[token];
            alone = alone || last == next;
            consider(first, last, id, scores_[token]);
            id = shorter_[token];
        }
        if (!alone) consider(first, next, unknown_, unknown_score_);
    }
    return best;
}

void Unigram::add_unknown(const NormalizedText& word, Range bytes, std::vector<Token>& out) const {
    const std::string_view text = word.text(bytes);
    const auto byte = [&](char b) { return bytes_[static_cast<unsigned char>(b)]; };
    // Several unknown characters together may spell a token after all.
    const auto known = find(vocabulary_, text);
    if (known || !std::ranges::all_of(text, [&](char b) { return byte(b).has_value(); })) {
        out.push_back({known.value_or(*unknown_), word.source(bytes)});
        return;
    }
    for (Index b = bytes.first; b < bytes.second; ++b)
        out.push_back({*byte(word.text()[static_cast<std::size_t>(b)]), word.source({b, b + 1})});
}

void Unigram::encode(const NormalizedText& word, std::vector<Token>& out) const {
    const std::vector<Spelling> best = spellings(word);
    std::vector<std::pair<Range, std::int32_t>> pieces;  // from behind
    for (Index last = word.size(); last > 0;) {
        const auto& [score, first, token] = best[static_cast<std::size_t>(last)];
        if (token == unknown_ && !pieces.empty() && pieces.back().second == token)
            pieces.back().first.first = first;
        else
            pieces.push_back({{first, last}, token});
        last = first;
    }
    std::ranges::reverse(pieces);
    for (const auto& [bytes, token] : pieces)
        if (token == unknown_)
            add_unknown(word, bytes, out);
        else
            out.push_back({token, word.source(bytes)});
}

}  // namespace tangram
