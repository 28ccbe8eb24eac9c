#pragma once
#include <functional>
#include <string>

#include "tangram/index.hpp"

namespace tangram {

/// Who hears what a computation has to say, and may end it.
struct Listener {
    /// Between the units of a part ("subsets", "neighbours"), first with done = 0, last with done = of.
    /// Collective; an Error that it throws on every rank ends the computation.
    std::function<void(const std::string& part, Index done, Index of)> progress = [](const auto&, Index,
                                                                                     Index) {};
    /// Local, on every rank, with the same text.
    std::function<void(const std::string&text)> say = [](const auto&) {}, warn = [](const auto&) {};
};

}  // namespace tangram
