# The typed methods between a client and gpud. Driver calls travel packed inside `batch` (record.h);
# everything rare, and everything that is not a driver call, is a method of its own.
@0xb14b974fb39f51fb;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("farwarp::rpc");

interface Gpud {
  # Bootstrap of every connection, after the preamble.
  hello @0 (client :ClientHello) -> (server :ServerHello, session :Session);
  # Control connections only.
  attachBulk @1 (token :Data) -> (bulk :Bulk);
  # Bulk connections only; `token` is the one of the session's ServerHello.
}

interface Session {
  submit @0 (seq :UInt64, batch :Data) -> stream;
  # Calls that nobody waits for. `seq` counts submits and calls together, from 1, without gaps.
  call @1 (seq :UInt64, batch :Data) -> (reply :Data);
  # A batch whose last record is waited for.
  stats @2 () -> (stats :SessionStats);
  setCallbacks @3 (client :ClientCallbacks) -> ();
  close @4 () -> (stats :SessionStats);
  # The session ends as if the process had ended; the reply carries its final figures.
  kernelTimeline @5 (start :Bool) -> (timeline :KernelTimeline);
  # `start`: from now on gpud keeps when each kernel ran; the answer tells its clock and nothing else.
  # Otherwise the next of those that were kept.
}

interface ClientCallbacks {
  # What gpud calls in the client.
  output @0 (text :Data, toStderr :Bool) -> ();
  # What kernels printed, in order with the replies to calls.
  ended @1 (reason :Text) -> ();
  # gpud ends the session; nothing after this is answered.
  hostFunction @2 (number :UInt64, status :Int32, completed :List(UInt64)) -> ();
  # A stream reached the host function that the client numbered so; `status` is the CUresult for a
  # stream callback. `completed`: copies to the host that are there, as in a reply. Answered when
  # the function has run; the stream waits for that.
}

interface Bulk {
  # `head`, `data` and `tail` are one run of bytes. `data` starts at a multiple of 8 in the sender's
  # memory, so that it can be sent from where it is; `head` and `tail` have fewer than 8 bytes each.
  # A `form` other than 0 (ChunkForm in chunk_codec.h) means that `data` alone is the run in another
  # form, and `length` what it has when it is unpacked.
  put @0 (transfer :UInt64, offset :UInt64, head :Data, data :Data, tail :Data,
          form :UInt8, length :UInt32) -> stream;
  get @1 (transfer :UInt64, offset :UInt64, length :UInt32)
      -> (transfer :UInt64, offset :UInt64, head :Data, data :Data, tail :Data,
          form :UInt8, length :UInt32);

  # Over a Unix socket the bytes can lie in memory that both sides see (shared_region.h). The
  # descriptor of that memory comes with the bytes of the message of `share`. Places are counted from
  # the begin of the part for uploads, or of that for downloads.
  share @2 () -> (refusal :Text);
  # Empty: it is used from now on.
  putShared @3 (transfer :UInt64, offset :UInt64, place :UInt32, length :UInt32) -> ();
  # Answered when the place may be filled again.
  getShared @4 (transfer :UInt64, offset :UInt64, length :UInt32) -> (shared :Bool, place :UInt32);
  # Not shared: there is no room, and `get` brings the bytes.
  taken @5 (place :UInt32) -> ();
  # The bytes of a getShared were taken from there.
}

struct ClientHello {
  clientVersion @0 :Text;
  specVersion @1 :UInt32;
  pid @2 :UInt32;
  program @3 :Text;
  cudaVersion @4 :Int32;
  compression @5 :UInt8;  # CompressionMode, as the client wishes
}

struct ServerHello {
  serverVersion @0 :Text;
  specVersion @1 :UInt32;
  token @2 :Data;
  driverVersion @3 :Int32;
  deviceKind @4 :Text;
  devices @5 :List(Device);
  batchBytesMax @6 :UInt32;
  chunkBytesMax @7 :UInt32;
  pendingTransfersMax @8 :UInt32;
  compression @9 :UInt8;  # CompressionMode of the session's bulk data, both ways
  keepsContent @10 :Bool;  # what the client offers by its digest may be there already
}

struct Device {
  name @0 :Text;
  uuid @1 :Data;
  totalMemoryBytes @2 :UInt64;
  computeMajor @3 :Int32;
  computeMinor @4 :Int32;
  pciBusId @5 :Text;
  streamPriorityLeast @6 :Int32;
  streamPriorityGreatest @7 :Int32;
  attributeIds @8 :List(Int32);
  attributeValues @9 :List(Int32);
  limitIds @10 :List(Int32);
  limitValues @11 :List(UInt64);
}

struct KernelTimeline {
  # protocol/kernel_timeline.h says what the fields mean.
  nowNs @0 :UInt64;
  lost @1 :UInt64;
  names @2 :List(Text);
  kernels @3 :List(KernelInterval);
}

struct KernelInterval {
  startNs @0 :UInt64;
  durationNs @1 :UInt64;
  device @2 :UInt32;
  name @3 :UInt32;
}

struct SessionStats {
  calls @0 :UInt64;
  waitingCalls @1 :UInt64;
  bytesIn @2 :UInt64;
  bytesOut @3 :UInt64;
  launches @4 :UInt64;
  kernelNs @5 :UInt64;
  busyNs @6 :UInt64;
  method @7 :Text;
}
