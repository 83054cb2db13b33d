//! Images. Network boot is chosen by one: a public stock image whose user data is an iPXE script or the URL of one.
//! Its id differs by region, so it is looked up. <https://cloud.ibm.com/docs/vpc?topic=vpc-bare-metal-network-boot>

use super::{
    VpcClient,
    reference::{NameReference, lenient_time},
};
use crate::{error::Error, word::words};
use metalform_model::Timestamp;
use serde::Deserialize;

/// An image.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Unique within the region.
    pub name: String,
    /// Whether it can be used.
    pub status: ImageStatus,
    /// `ipxe`, `cloud_init`, …
    #[serde(default)]
    pub user_data_format: Option<String>,
    /// When it was published.
    #[serde(default, deserialize_with = "lenient_time")]
    pub created_at: Option<Timestamp>,
    /// For `partially_available` the zones that have it.
    #[serde(default)]
    pub zones: Vec<NameReference>,
}

words! {
    /// An image's status.
    ImageStatus {
        /// Usable.
        Available = "available",
        /// Usable in some zones only.
        PartiallyAvailable = "partially_available",
        /// Usable for now.
        Deprecated = "deprecated",
        /// No longer usable.
        Obsolete = "obsolete",
        /// Not usable yet.
        Pending = "pending",
        /// Never became usable.
        Failed = "failed",
        /// Being deleted.
        Deleting = "deleting",
        /// Its key is gone.
        Unusable = "unusable",
    }
}

impl Image {
    /// Whether a server can be made from it, at least somewhere.
    pub fn is_usable(&self) -> bool {
        matches!(self.status, ImageStatus::Available | ImageStatus::PartiallyAvailable | ImageStatus::Deprecated)
    }
}

const COLLECTION: &str = "images";

impl VpcClient {
    /// One image.
    pub async fn get_image(&self, id: &str) -> Result<Image, Error> {
        self.get("get image", &[COLLECTION, id]).await
    }

    /// The newest usable public image that boots over the network; one that is plainly `available` goes before the others.
    ///
    /// By its user data format; where the cloud knows none of that format, by the name `ibm-ipxe-…` (this lists all public
    /// images, more than a thousand).
    pub async fn find_ipxe_image(&self) -> Result<Option<Image>, Error> {
        let public = ("visibility", "public");
        let mut images: Vec<Image> =
            self.list("find iPXE image", &[COLLECTION], &[public, ("user_data_format", "ipxe")]).await?;
        images.retain(|image| image.is_usable() && image.user_data_format.as_deref() == Some("ipxe"));
        if images.is_empty() {
            images = self.list("find iPXE image by name", &[COLLECTION], &[public]).await?;
            images.retain(|image| image.is_usable() && image.name.starts_with("ibm-ipxe-"));
        }
        Ok(images.into_iter().max_by_key(|image| (image.status == ImageStatus::Available, image.created_at)))
    }
}
