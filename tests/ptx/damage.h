// Damage to PTX text, for tests that give the engine what no compiler writes.
#pragma once

#include <random>
#include <string>

namespace farwarp::ptx {

using Random = std::mt19937;

// A number below `limit`; 0 when that is 0.
size_t below(Random& random, size_t limit);

// Bytes are changed, erased or inserted.
std::string damageBytes(std::string text, Random& random);
// A word, with what separates it from the next, goes to another place or is replaced.
std::string damageTokens(std::string text, Random& random);
// Lines vanish, change places or are repeated.
std::string damageLines(const std::string& text, Random& random);
// The modifiers, registers and numbers of one instruction become others that PTX knows: most of
// these texts still compile.
std::string damageInstruction(std::string text, Random& random);
// One of these, or the end is cut off.
std::string damage(const std::string& text, Random& random);

}  // namespace farwarp::ptx
