//! The passwords of a cluster's accounts, sealed.
//!
//! They are written by the loop, in the commit of the record that says so and before any of them is used; never again
//! after that, since a password that is overwritten may be the one in force. They go with the commit that releases the
//! cluster. So whatever crash comes between: a password that a machine was ever given is here.

use crate::{
    Sealed, Store, StoreError,
    error::{Doing, Result, from_text},
};
use metalform_model::{Account, Timestamp};
use sqlx::{FromRow, Sqlite, Transaction};
use uuid::Uuid;

/// The password of one account, as it lies in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedCredential {
    /// Whose.
    pub account: Account,
    /// The name it logs in with.
    pub user: String,
    /// The password, sealed for the cluster and the account: see [`crate::Sealer::seal`].
    pub sealed: Sealed,
    /// When it was made.
    pub created_at: Timestamp,
}

#[derive(FromRow)]
struct CredentialRow {
    account: String,
    user_name: String,
    sealed: Vec<u8>,
    created_at: i64,
}

impl Store {
    /// What is written down for a cluster, in the order of [`Account::ALL`]; nothing before its passwords are made and
    /// after it was released.
    pub async fn credentials(&self, cluster_id: Uuid) -> Result<Vec<SealedCredential>> {
        let rows: Vec<CredentialRow> =
            sqlx::query_as("SELECT account, user_name, sealed, created_at FROM credentials WHERE cluster_id = $1")
                .bind(cluster_id.to_string())
                .fetch_all(&self.reader)
                .await
                .doing("read passwords")?;
        let read = |row: CredentialRow| {
            Ok(SealedCredential {
                account: from_text("account", &format!("{:?}", row.account))?,
                user: row.user_name,
                sealed: Sealed::from_bytes(row.sealed),
                created_at: Timestamp(row.created_at),
            })
        };
        let mut all = rows.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        all.sort_by_key(|credential| credential.account);
        Ok(all)
    }

    /// Part of a commit. [`StoreError::PasswordExists`]: the account has one already, and keeps it.
    pub(crate) async fn add_credentials(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        cluster_id: Uuid,
        credentials: &[SealedCredential],
    ) -> Result<()> {
        let doing = "write passwords down";
        for credential in credentials {
            let written = sqlx::query(
                "INSERT INTO credentials (cluster_id, account, user_name, sealed, created_at) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (cluster_id, account) DO NOTHING",
            )
            .bind(cluster_id.to_string())
            .bind(credential.account.as_str())
            .bind(&credential.user)
            .bind(credential.sealed.as_bytes())
            .bind(credential.created_at.0)
            .execute(&mut **tx)
            .await
            .doing(doing)?;
            if written.rows_affected() == 0 {
                return Err(StoreError::PasswordExists { account: credential.account });
            }
        }
        Ok(())
    }

    /// Part of a commit, after the cluster's record. What still lives is somebody's to log in to: of that nothing is
    /// forgotten, whatever the commit says.
    pub(crate) async fn forget_credentials(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        cluster_id: Uuid,
    ) -> Result<()> {
        sqlx::query(
            "DELETE FROM credentials WHERE cluster_id = $1 \
             AND EXISTS (SELECT 1 FROM clusters WHERE id = $1 AND living = 0)",
        )
        .bind(cluster_id.to_string())
        .execute(&mut **tx)
        .await
        .doing("forget passwords")?;
        Ok(())
    }
}
