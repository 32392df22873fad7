// How gpud says in an RPC exception that it refuses or ends a session; both sides agree here.
#pragma once

namespace farwarp::wire {

inline constexpr char kRemotePrefix[] = "remote exception: ";  // put there by Cap'n Proto
inline constexpr char kRefusedPrefix[] = "refused: ";
inline constexpr char kEndedPrefix[] = "session ended: ";

}  // namespace farwarp::wire
