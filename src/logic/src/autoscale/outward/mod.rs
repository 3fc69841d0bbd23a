//! What is said to targets, and how often: messages, signatures, pauses between tries, and who of several gateways may write.
//!
//! | module | what |
//! |---|---|
//! | [`message`] | the JSON that every target but Kubernetes gets |
//! | [`retry`] | pauses between tries, and when there is no time left for another |
//! | [`sign`] | the signature of webhooks |
//! | [`scale`] | the Kubernetes scale subresource |
//! | [`stored`] | numbers in etcd and Consul, which an older leader must not overwrite |
//! | [`kafka`] | records for Kafka's REST proxy |
//! | [`fence`] | the scale by which who writes late is told from who leads |
//! | [`lease`] | the election by a Kubernetes Lease |

pub mod fence;
pub mod kafka;
pub mod lease;
pub mod message;
pub mod retry;
pub mod scale;
pub mod sign;
pub mod stored;
